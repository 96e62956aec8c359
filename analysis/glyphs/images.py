"""The images of a Parquet file in memory."""

import io

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from fedra_ray.config.errors import SettingError


def load_images(path: str, split: str) -> tuple[Tensor, Tensor]:
    """Images (n, 3, height, width), uint8, and labels (n,) of one split of a Parquet file.

    Raises:
        SettingError: if there are none.
    """
    table = pq.read_table(path, columns=["image", "label", "split"])
    table = table.filter(pc.equal(table["split"], split))
    arrays = [np.asarray(Image.open(io.BytesIO(image.as_py())).convert("RGB")) for image in table["image"]]
    if not arrays:
        raise SettingError("data", path, f"has no image of split {split!r}")
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2), torch.tensor(table["label"].to_pylist())
