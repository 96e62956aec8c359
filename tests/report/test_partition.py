import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fedra_ray.data.division import TABLE
from fedra_ray.report.partition import class_counts, draw_partition


def partition(*rows: tuple[int, str, int, int]) -> pa.Table:
    names = ("client", "domain", "label", "images")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) | {"label_name": "x"} for row in rows], TABLE)


def test_images_are_counted_over_domains() -> None:
    found = class_counts(partition((0, "a", 1, 5), (0, "b", 1, 2), (2, "a", 0, 7)), 3)
    assert found.tolist() == [[0, 7, 0], [0, 0, 0], [7, 0, 0]]


@pytest.mark.parametrize(("clients", "classes"), [(1, 2), (6, 100), (2000, 36)])
def test_the_figure_shows_where_the_images_are(clients: int, classes: int) -> None:
    content = draw_partition(partition((clients - 1, "a", 0, 9)), tuple(map(str, range(classes))))
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    yellow = (image[..., 0] > 200) & (image[..., 1] > 180) & (image[..., 2] < 90)
    assert yellow.any()
    assert image.shape[0] < 2000


def test_of_a_large_fleet_the_first_clients_are_drawn() -> None:
    near, far = (0, "a", 0, 9), (99_999, "b", 1, 90)
    assert draw_partition(partition(near, far), ("x", "y")) == draw_partition(partition(near), ("x", "y"))
