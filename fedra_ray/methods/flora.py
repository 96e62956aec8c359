"""FLoRA: stacked factors are merged into the weights, and LoRA starts anew.

Wang et al., NeurIPS 2024, arXiv 2409.05976.
"""

import numpy as np

from fedra_ray.federation.factors import Factors
from fedra_ray.methods.lora_aggregation import Held, LoraAggregation


class Flora(LoraAggregation):
    """The weight gets (alpha / rank) sum_k p_k B_k A_k; A is again what it was at the start, and B zero.

    The sum is the product of the factors stacked, A_k below and p_k B_k beside one another, which clients would get.
    """

    changes_weights = True

    def combine(self, held: Held) -> Factors:
        return Factors(held.previous.a, np.zeros_like(held.previous.b))
