"""FFA-LoRA: only B is trained, so that averaging factors is averaging products.

Sun et al., ICLR 2024, arXiv 2403.12313.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedra_ray.methods.fixed_factor import FixedFactor

if TYPE_CHECKING:
    from fedra_ray.methods.local import LocalRound


class FfaLora(FixedFactor):
    """Every A stays as it was drawn at the start; clients train and send B, half as much as both."""

    def travelling_factors(self, number: int) -> tuple[str, str]:
        return "B", "B"

    def fixed(self, local: LocalRound) -> int:
        return 0
