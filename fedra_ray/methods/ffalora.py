"""FFA-LoRA: only B is trained, so that averaging factors is averaging products.

Sun et al., ICLR 2024, arXiv 2403.12313.
"""

from fedra_ray.methods.fixed_factor import FixedFactor


class FfaLora(FixedFactor):
    """Every A stays as it was drawn at the start; clients train and send B, half as much as both."""

    def travelling_factors(self, number: int) -> tuple[str, str]:
        return "B", "B"

    def fixed(self, number: int) -> int:
        return 0
