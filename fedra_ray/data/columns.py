"""Columns of Arrow as arrays of numpy."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def integers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """The numbers of a column without nulls (rows,).

    By DLPack, because `to_numpy` of Arrow imports pandas where it is installed, which takes a tenth of a second.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole).astype(np.int64)
