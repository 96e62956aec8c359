"""How updates become the next adapter: masked averaging, segment by segment.

A *segment* is what a client holds or does not hold as a whole: the LoRA factors of one layer, or one head. All
segments lie one after another in a flat float32 vector (`fedra_ray.adapter.Layout`).

Floating-point sums depend on their order, and the order in which updates arrive does not repeat. So values are added
as 64-bit fixed-point integers: the sum is exact, and the same bits come out of any order and any grouping.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

FRACTION_BITS = 32
_SCALE = float(2**FRACTION_BITS)
LARGEST_SUM = 2.0 ** (62 - FRACTION_BITS)


class MaskedSum:
    """A running weighted sum of updates, each of which covers some of the segments.

    Resolution is 2**-32, whatever the magnitude; the sum of weight times magnitude may reach 2**30 in every coordinate.
    """

    def __init__(self, segments: Sequence[slice]) -> None:
        self.segments = segments
        self.weights = np.zeros(len(segments), dtype=np.int64)
        self._totals = np.zeros(segments[-1].stop, dtype=np.int64)
        self._magnitude = 0.0

    def add(self, held: Iterable[int], values: Vector, weight: int = 1) -> None:
        """Add one client's update.

        Args:
            held: Indices of the segments that the client holds, ascending.
            values: Their values, one segment after another.
            weight: 1, or the client's number of examples.

        Raises:
            ValueError: if a value is not finite, or the sum would leave the range of the fixed-point numbers.
        """
        largest = float(np.abs(values).max(initial=0.0))
        if not np.isfinite(largest):
            raise ValueError("an update holds values that are not finite")
        self._reserve(largest * weight)
        fixed = np.rint(values.astype(np.float64) * _SCALE).astype(np.int64) * weight
        start = 0
        for index in held:
            segment = self.segments[index]
            stop = start + segment.stop - segment.start
            self._totals[segment] += fixed[start:stop]
            self.weights[index] += weight
            start = stop

    def merge(self, other: "MaskedSum") -> None:
        """Add everything that `other` has summed.

        Raises:
            ValueError: if the sum would leave the range of the fixed-point numbers.
        """
        self._reserve(other._magnitude)
        self._totals += other._totals
        self.weights += other.weights

    def mean(self, previous: Vector) -> Vector:
        """The weighted mean of each segment over its holders; a segment without a holder keeps its previous value."""
        result = previous.copy()
        for segment, weight in zip(self.segments, self.weights, strict=True):
            if weight:
                result[segment] = (self._totals[segment] / (_SCALE * weight)).astype(np.float32)
        return result

    def _reserve(self, magnitude: float) -> None:
        """Make sure, before anything is added, that no coordinate can leave the range."""
        if self._magnitude + magnitude >= LARGEST_SUM:
            raise ValueError(f"weighted updates of magnitude {magnitude:g} exceed the exact sum's range")
        self._magnitude += magnitude
