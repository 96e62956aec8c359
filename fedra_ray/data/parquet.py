"""A domain data set in Parquet: a row an image, with its encoded bytes, label, label name, domain and split."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.errors import SettingError
from fedra_ray.paths import resolve

_INDEX = ["label", "label_name", "domain", "split"]


class ParquetDataset(Dataset):
    """Reads labels at once, images a domain and split at a time, when they are first asked for.

    Args:
        root: The Parquet file.
        image_size: Side in pixels of the returned images; stored images of another size are resized (bicubic).
    """

    def __init__(self, root: str, image_size: int) -> None:
        self._path = resolve(root)
        self._image_size = image_size
        table = _read_index(self._path, root)
        self.domains = tuple(sorted(pc.unique(table["domain"]).to_pylist()))
        self.classes = _class_names(table, root)
        self._labels = {
            (domain, split): _where(table, domain, split)["label"].to_numpy().astype(np.int64)
            for domain in self.domains
            for split in SPLITS
        }

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        labels: NDArray[np.int64] = self._labels[domain, split]
        return labels

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return _decode(self._path, domain, split, self._image_size)[indices]


def _read_index(path: Path, root: str) -> pa.Table:
    if not path.is_file():
        raise SettingError("dataset.root", root, "no such Parquet file")
    try:
        schema = pq.read_schema(path)
        missing = [name for name in ("image", *_INDEX) if name not in schema.names]
        if missing:
            raise SettingError("dataset.root", root, f"the file lacks the columns {', '.join(missing)}")
        return pq.read_table(path, columns=_INDEX)
    except (pa.ArrowException, OSError) as error:
        raise SettingError("dataset.root", root, f"is not a readable Parquet file: {error}") from error


def _class_names(table: pa.Table, root: str) -> tuple[str, ...]:
    pairs = table.group_by(["label", "label_name"]).aggregate([]).sort_by("label")
    if pairs["label"].to_pylist() != list(range(len(pairs))):
        raise SettingError("dataset.root", root, "labels must be 0, 1, 2, ... with one name each")
    return tuple(pairs["label_name"].to_pylist())


def _where(table: pa.Table, domain: str, split: str) -> pa.Table:
    return table.filter(pc.and_(pc.equal(table["domain"], domain), pc.equal(table["split"], split)))


@cache
def _decode(path: Path, domain: str, split: str, size: int) -> NDArray[np.uint8]:
    """Every image of one domain and split, (images, 3, size, size); kept, for each client comes back every round."""
    rows = pq.read_table(path, columns=["image"], filters=[("domain", "=", domain), ("split", "=", split)])
    decoded = np.empty((len(rows), 3, size, size), dtype=np.uint8)
    for index, content in enumerate(rows["image"]):
        image = Image.open(io.BytesIO(content.as_py())).convert("RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        decoded[index] = np.asarray(image).transpose(2, 0, 1)
    return decoded
