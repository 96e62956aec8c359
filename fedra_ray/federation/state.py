"""What a server carries from one round to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class ServerState:
    """The global adapter, and whatever else a method's server remembers.

    Attributes:
        values: The global adapter (`Layout.size`,), float32.
        arrays: Further arrays by name, of any shape and type: moments of a server optimiser, control variates. They are
            saved with every restart point.
    """

    values: Vector
    arrays: Arrays = field(default_factory=dict)

    def keeping(self, **arrays: Array) -> "ServerState":
        """The same state with these arrays added, or put in the place of those of the same names."""
        return replace(self, arrays={**self.arrays, **arrays})
