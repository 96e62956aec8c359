"""RoLoRA: A and B are trained in turn. Chen et al. 2024, arXiv 2409.02346."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedra_ray.methods.fixed_factor import FixedFactor

if TYPE_CHECKING:
    from fedra_ray.methods.local import LocalRound


class RoLora(FixedFactor):
    """In odd rounds every client trains B alone, in even ones A alone, so that averaging factors is always exact."""

    def travelling_factors(self, number: int) -> tuple[str, str]:
        return ("B" if number % 2 else "A"), "AB"

    def fixed(self, local: LocalRound) -> int:
        return 0 if local.task.round % 2 else 1
