"""Finished runs of the miniature world, whose pages are written."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.report.facts import Facts, read
from fedra_ray.run_dir.folder import Folder


@pytest.fixture(scope="session")
def facts(fedra_run: str) -> Facts:
    return read(Folder(fedra_run))


@pytest.fixture(scope="session")
def script() -> str:
    return "<script>console.error('x')</script>"


@pytest.fixture(scope="session")
def hostile_run(
    make_run: Callable[..., str], world: Path, script: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A run on a data set that has a script for a domain and for a class."""
    table = pq.read_table(world / "shapes.parquet")
    for column, name in (("domain", "dark"), ("label_name", "cross")):
        renamed = [script if each == name else each for each in table[column].to_pylist()]
        table = table.set_column(table.schema.get_field_index(column), column, pa.array(renamed))
    path = tmp_path_factory.mktemp("hostile") / "shapes.parquet"
    pq.write_table(table, path)

    def change(config: ExperimentConfig) -> None:
        config.dataset.root, config.dataset.name, config.method.name = str(path), "<b>shapes</b>", "fedra&co"
        config.method.label = None

    return make_run(change)
