"""Pairs of LoRA factors, the ways to aggregate those of several clients, and what the products do to inputs.

A client's branch computes s B A x. The mean over clients of these outputs is s mean(B A) x, for which FedIT has
s mean(B) mean(A) x. With weights that sum to one the two differ by a covariance,

    mean(B A) - mean(B) mean(A) = mean((B - mean B) (A - mean A)),

which is zero if all A are equal, all B are equal, or there is one client.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """A (rank, inputs) and B (outputs, rank) of one linear layer; scaling is left to whoever uses them."""

    a: Array
    b: Array

    def output(self, inputs: Array) -> Array:
        """B A x (rows, outputs) for inputs (rows, inputs)."""
        return inputs @ self.a.T @ self.b.T


def average_factors(held: Sequence[Factors], weights: Array) -> Factors:
    """The mean of A and the mean of B, each by itself: FedIT, arXiv 2305.05644, and FedRA.

    Args:
        held: Factors of the layer's holders, all of one rank.
        weights: Weights of the holders (holders,); the sum is 1.
    """
    a, b = ([getattr(factors, name) for factors in held] for name in ("a", "b"))
    return Factors(np.tensordot(weights, a, axes=1), np.tensordot(weights, b, axes=1))


def stack(held: Sequence[Factors], weights: Array) -> Factors:
    """All A on top of each other and all weighted B side by side, so that B A is the mean of products.

    FLoRA, arXiv 2409.05976, equation 4. The rank is the sum of the ranks.
    """
    weighted = [weight * factors.b for factors, weight in zip(held, weights, strict=True)]
    return Factors(np.concatenate([factors.a for factors in held]), np.concatenate(weighted, axis=1))


def average_products(held: Sequence[Factors], weights: Array) -> Factors:
    """The mean of products, cut back to the rank of the holders: FlexLoRA, arXiv 2402.11505, equations 4 and 5."""
    left, values, right = decompose(stack(held, weights))
    rank = len(held[0].a)
    roots = np.sqrt(values)
    return Factors((roots[:, None] * right)[:rank], (left * roots)[:, :rank])


#: How the factors of a layer's holders become the server's.
AGGREGATIONS: dict[str, Callable[[Sequence[Factors], Array], Factors]] = {
    "FedIT": average_factors,
    "FlexLoRA": average_products,
    "FLoRA": stack,
}


def decompose(factors: Factors) -> tuple[Array, Array, Array]:
    """Singular value decomposition of B A by way of two QR decompositions, without forming the product.

    Returns:
        U (outputs, k), the singular values (k,), descending, and V transposed (k, inputs), with k at most the rank.
    """
    left, left_rest = np.linalg.qr(factors.b)
    right, right_rest = np.linalg.qr(factors.a.T)
    inner, values, outer = np.linalg.svd(left_rest @ right_rest.T, full_matrices=False)
    return left @ inner, values, outer @ right.T


def effective_rank(values: Array) -> float:
    """The exponential of the entropy of singular values (k,) over their sum (Roy and Vetterli, EUSIPCO 2007).

    Between 1, one direction, and k, all of them alike; not a number for a product that is zero.
    """
    total = values.sum()
    if not total:
        return float("nan")
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def relative(difference: Array, reference: Array) -> float:
    """The norm of a difference over that of its reference; 0 where there is no difference."""
    size, whole = np.linalg.norm(difference), np.linalg.norm(reference)
    if not size:
        return 0.0
    return float(size / whole) if whole else float("inf")
