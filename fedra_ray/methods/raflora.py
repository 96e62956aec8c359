"""raFLoRA: every rank slice is averaged over the clients that have it, then the sum is cut back. arXiv 2602.13486."""

from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors
from fedra_ray.methods.lora_aggregation import Held, LoraAggregation


class RaFlora(LoraAggregation):
    """The next factors are those of the truncated SVD of sum over slices [l, h) of the mean of B_k[:, l:h] A_k[l:h].

    Slices lie between the ranks that occur (`lora.ranks`); the mean of one is over the clients of rank at least h,
    weighted by their shares among these. Zero-padding would average it with the zeros of all others, so that the
    higher ranks fade.
    """

    def combine(self, held: Held) -> Factors:
        slices: list[Factors] = []
        low = 0
        for high in sorted(set(held.ranks)):
            owners = [index for index, rank in enumerate(held.ranks) if rank >= high]
            total = sum(held.shares[index] for index in owners)
            parts = [Factors(held.factors[index].a[low:high], held.factors[index].b[:, low:high]) for index in owners]
            slices.append(factors.stack(parts, [held.shares[index] / total for index in owners]))
            low = high
        return factors.truncate(factors.stack(slices, [1.0] * len(slices)), len(held.previous.a))
