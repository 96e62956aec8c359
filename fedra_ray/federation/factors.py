"""Arithmetic with LoRA factors: A (rank, inputs) and B (outputs, rank), whose product B A is a change of a weight.

In float64, and never by way of the product itself, which is as large as the weight: what is decomposed are stacked
factors. The K clients of a layer have factors A_k, B_k and shares p_k, which sum to 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedra_ray.federation.layout import Entry
from fedra_ray.federation.state import Vector

Floats = NDArray[np.float64]


class Factors(NamedTuple):
    """The LoRA factors of one target.

    Attributes:
        a: (rank, inputs).
        b: (outputs, rank).
    """

    a: Floats
    b: Floats


def split(entries: Sequence[Entry], values: Vector) -> list[Factors]:
    """The factors of every target of a layer.

    Args:
        entries: Of the layer, `Layout.layers[i]`: lora_A and lora_B of each target in turn.
        values: Of the layer, one entry after another.
    """
    stops = np.cumsum([entry.size for entry in entries])[:-1]
    tensors = [
        part.reshape(entry.shape).astype(np.float64)
        for part, entry in zip(np.split(values, stops), entries, strict=True)
    ]
    return [Factors(a, b) for a, b in zip(tensors[::2], tensors[1::2], strict=True)]


def join(factors: Sequence[Factors]) -> Vector:
    """The values of a layer in float32, one entry after another: the inverse of `split`."""
    return np.concatenate([tensor.reshape(-1) for pair in factors for tensor in pair]).astype(np.float32)


def mean(factors: Sequence[Factors], shares: Sequence[float]) -> Factors:
    """The means sum_k p_k A_k and sum_k p_k B_k."""
    return Factors(
        np.sum([share * pair.a for share, pair in zip(shares, factors, strict=True)], axis=0),
        np.sum([share * pair.b for share, pair in zip(shares, factors, strict=True)], axis=0),
    )


def stack(factors: Sequence[Factors], shares: Sequence[float]) -> Factors:
    """Factors of rank sum_k r_k whose product is sum_k p_k B_k A_k: the A_k below, the p_k B_k beside one another."""
    scaled = [share * pair.b for share, pair in zip(shares, factors, strict=True)]
    return Factors(np.concatenate([pair.a for pair in factors]), np.concatenate(scaled, axis=1))


def truncate(factors: Factors, rank: int) -> Factors:
    """The best approximation of B A of at most this rank, from its SVD U S V^T: B = U sqrt(S), A = sqrt(S) V^T.

    The decomposed matrix is R_B R_A^T, of at most the factors' rank on either side, from B = Q_B R_B and A^T = Q_A R_A.
    Factors of less than `rank` are filled up with zeros.
    """
    q_b, r_b = np.linalg.qr(factors.b)
    q_a, r_a = np.linalg.qr(factors.a.T)
    left, singular, right = np.linalg.svd(r_b @ r_a.T)
    kept = min(rank, len(singular))
    roots = np.sqrt(singular[:kept])
    a = roots[:, None] * (right[:kept] @ q_a.T)
    b = (q_b @ left[:, :kept]) * roots
    return Factors(np.pad(a, ((0, rank - kept), (0, 0))), np.pad(b, ((0, 0), (0, rank - kept))))


def norm(factors: Factors) -> float:
    """The Frobenius norm of B A: the square root of the trace of (B^T B) (A A^T)."""
    return float(np.sqrt(max(0.0, np.sum((factors.b.T @ factors.b) * (factors.a @ factors.a.T)))))
