"""FedEx-LoRA: what averaging factors loses is added to the frozen weights.

Singhal et al., ACL 2025, arXiv 2410.09432.
"""

from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors
from fedra_ray.methods.lora_aggregation import Held, LoraAggregation


class FedExLora(LoraAggregation):
    """A and B are the means; the weight gets (alpha / rank) (sum_k p_k B_k A_k - B A) besides.

    So the effective weight is exactly the mean of the clients'. Clients get a matrix of the size of every adapted
    weight.
    """

    changes_weights = True

    def combine(self, held: Held) -> Factors:
        return factors.mean(held.factors, held.shares)
