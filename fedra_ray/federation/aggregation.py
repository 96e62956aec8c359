"""How updates become the next adapter: masked averaging, segment by segment.

A *segment* is what a client holds or does not hold as a whole: the LoRA factors of one layer, or one head. All
segments lie one after another in a flat float32 vector (`fedra_ray.federation.layout.Layout`).

Floating-point sums depend on their order, and the order in which updates arrive does not repeat. So values are added
as 64-bit fixed-point integers: the sum is exact, and the same bits come out of any order and any grouping.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedra_ray.federation.state import Vector

FRACTION_BITS = 32
_SCALE = float(2**FRACTION_BITS)
LARGEST_SUM = 2.0 ** (62 - FRACTION_BITS)

# A float64 between 2**20 and 2**21 has a resolution of 2**-32. So a value added to the middle of that range is rounded
# there, and the bits of the result, read as an integer, are those of the middle plus the value in fixed point: one
# pass over memory instead of three (scaling, rounding, conversion).
_MIDDLE = 1.5 * 2.0 ** (52 - FRACTION_BITS)
_MIDDLE_BITS = int(np.float64(_MIDDLE).view(np.int64))
_LARGEST_FAST = 2.0 ** (51 - FRACTION_BITS)
_SMALL_NORM = 64.0


class MaskedSum:
    """A running weighted sum of updates, each of which covers some of the segments.

    Resolution is 2**-32, whatever the magnitude; the sum of weight times magnitude may reach 2**30 in every coordinate.
    Only segments that some update covers take memory.

    Args:
        segments: Ranges of the segments in the flat vector.

    Attributes:
        weights: Sum of the weights of each segment's holders (segments,), int64.
    """

    def __init__(self, segments: Sequence[slice]) -> None:
        self.segments = segments
        self.weights = np.zeros(len(segments), dtype=np.int64)
        # Modulo 2**64 a total is that of the fixed-point numbers plus so many times the bits of the middle.
        self._totals: dict[int, NDArray[np.int64]] = {}
        self._middles = [0] * len(segments)
        self._magnitude = 0.0

    def add(self, held: Iterable[int], values: Vector, weight: int = 1) -> None:
        """Add one client's update.

        Args:
            held: Indices of the segments that the client holds, ascending.
            values: Their values, one segment after another in one flat vector.
            weight: 1, or the client's number of examples.

        Raises:
            ValueError: if a value is not finite, or the sum would leave the range of the fixed-point numbers.
        """
        largest = magnitude(values)
        if not np.isfinite(largest):
            raise ValueError("an update holds values that are not finite")
        self._reserve(largest * weight)
        fast = largest * weight < _LARGEST_FAST
        buffer = np.empty(max((segment.stop - segment.start for segment in self.segments), default=0))
        start = 0
        for index in held:
            length = self.segments[index].stop - self.segments[index].start
            weighted = buffer[:length]
            weighted[:] = values[start : start + length]
            if weight != 1:
                weighted *= weight
            if fast:
                weighted += _MIDDLE
                self._middles[index] += 1
            self._accumulate(index, weighted.view(np.int64) if fast else np.rint(weighted * _SCALE).astype(np.int64))
            self.weights[index] += weight
            start += length

    def merge(self, other: "MaskedSum") -> None:
        """Add everything that `other` has summed.

        Raises:
            ValueError: if the sum would leave the range of the fixed-point numbers.
        """
        self._reserve(other._magnitude)
        for index, total in other._totals.items():
            self._accumulate(index, total)
            self._middles[index] += other._middles[index]
        self.weights += other.weights

    def mean(self, previous: Vector) -> Vector:
        """The weighted mean of each segment over its holders; a segment without a holder keeps its previous values.

        Args:
            previous: The global adapter before the round, the full flat vector.
        """
        result = previous.copy()
        for index in self._totals:
            result[self.segments[index]] = (self._exact(index) / (_SCALE * self.weights[index])).astype(np.float32)
        return result

    def sum(self) -> NDArray[np.float64]:
        """The weighted sum of each segment over its holders, as a full vector; zero in a segment without a holder."""
        result = np.zeros(self.segments[-1].stop)
        for index in self._totals:
            result[self.segments[index]] = self._exact(index) / _SCALE
        return result

    def _exact(self, index: int) -> NDArray[np.int64]:
        """The sum of a segment in fixed point."""
        middles = (self._middles[index] * _MIDDLE_BITS + 2**63) % 2**64 - 2**63
        exact: NDArray[np.int64] = self._totals[index] - np.int64(middles)
        return exact

    def _accumulate(self, index: int, fixed: NDArray[np.int64]) -> None:
        if index in self._totals:
            self._totals[index] += fixed
        else:
            self._totals[index] = fixed.copy()

    def _reserve(self, magnitude: float) -> None:
        """Make sure, before anything is added, that no coordinate can leave the range."""
        if self._magnitude + magnitude >= LARGEST_SUM:
            raise ValueError(f"weighted updates of magnitude {magnitude:g} exceed the exact sum's range")
        self._magnitude += magnitude


def magnitude(values: Vector) -> float:
    """The largest absolute value or, where that is small, a bound on it; not finite if any value is not.

    The bound is the Euclidean norm: BLAS reads memory once for it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(values @ values)
    if squares < _SMALL_NORM**2:
        return math.sqrt(squares)
    return float(max(values.max(), -values.min()))


def unusable(values: Vector, total_weight: int) -> str | None:
    """Why values cannot be summed exactly with those of a whole cohort, or None.

    Args:
        values: Values of one client, in a flat vector.
        total_weight: Weight of the whole cohort; the larger it is, the smaller the values must be.
    """
    largest = magnitude(values)
    if not math.isfinite(largest):
        return "not finite"
    if largest * total_weight >= LARGEST_SUM:
        return f"a value of {largest:.3g}, beyond {LARGEST_SUM / total_weight:.3g}"
    return None
