"""LoRA-FAIR: the server corrects the mean of B for what averaging factors loses.

Bian et al., ICCV 2025, arXiv 2411.14961.
"""

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors
from fedra_ray.methods.lora_aggregation import Held, LoraAggregation
from fedra_ray.methods.method import Method


class LoraFair(LoraAggregation):
    """A is the mean; B is the mean plus D, the least ||sum_k p_k B_k A_k - (B + D) A||_F^2 + ridge ||D||_F^2.

    That is D = (sum_k p_k B_k A_k - B A) A^T (A A^T + ridge I)^-1. The paper measures how near (B + D) A comes to the
    mean product by their cosine and minimises by gradient descent; this is the closed form of the squared distance.

    Args:
        inner: The wrapped method.
        ridge: Weight of the correction's own size, at least 0.
    """

    def __init__(self, inner: Method, ridge: float = 0.01) -> None:
        super().__init__(inner)
        if not ridge >= 0:
            raise SettingError("lora_aggregation.options.ridge", ridge, "must be at least 0")
        self.ridge = ridge

    def combine(self, held: Held) -> Factors:
        a, b = factors.mean(held.factors, held.shares)
        gram = a @ a.T
        products = [share * own.b @ (own.a @ a.T) for share, own in zip(held.shares, held.factors, strict=True)]
        lost = np.sum(products, axis=0) - b @ gram
        correction = np.linalg.lstsq(gram + self.ridge * np.eye(len(gram)), lost.T, rcond=None)[0].T
        return Factors(a, b + correction)
