import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from fedra_ray.data.columns import integers


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int32(), pa.int64()])
def test_columns_of_any_width_are_one_array_of_numbers(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array([3, 1], kind), pa.array([], kind), pa.array([2, 7, 9], kind)[1:]])
    found = integers(column)
    assert (found.dtype, found.tolist()) == (np.int64, [3, 1, 7, 9])
    assert integers(column.chunk(2)).tolist() == [7, 9]


OPENING = """
import sys
from fedra_ray import compose
from fedra_ray.data.dataset import open_dataset
dataset = open_dataset(compose().dataset, 64)
print(len(dataset.domains), "pandas" in sys.modules)
"""


def test_a_data_set_is_opened_without_pandas() -> None:
    done = subprocess.run([sys.executable, "-c", OPENING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6", "False"]
