"""RoLoRA: A and B are trained in turn. Chen et al. 2024, arXiv 2409.02346."""

from fedra_ray.methods.fixed_factor import FixedFactor


class RoLora(FixedFactor):
    """In odd rounds every client trains B alone, in even ones A alone, so that averaging factors is always exact."""

    def fixed(self, number: int) -> int:
        return 0 if number % 2 else 1
