"""FlexLoRA: the server averages products and cuts them back to the rank. Bai et al., NeurIPS 2024, arXiv 2402.11505."""

from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors
from fedra_ray.methods.lora_aggregation import Held, LoraAggregation


class FlexLora(LoraAggregation):
    """The next factors are those of the truncated SVD U S V^T of sum_k p_k B_k A_k: B = U sqrt(S), A = sqrt(S) V^T.

    How S is divided between the factors is left open by the paper. The product is never formed.
    """

    def combine(self, held: Held) -> Factors:
        return factors.truncate(factors.stack(held.factors, held.shares), len(held.previous.a))
