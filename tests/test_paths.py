from pathlib import Path

import fedra_ray
from fedra_ray.paths import conf_dir, resolve

PACKAGE = Path(fedra_ray.__file__).parent


def test_an_asset_lies_in_the_package() -> None:
    assert resolve("asset://glyphs.parquet") == PACKAGE / "assets" / "glyphs.parquet"


def test_other_paths_are_files() -> None:
    assert resolve("some/file.parquet") == Path("some/file.parquet")
    assert resolve("~/file.parquet") == Path.home() / "file.parquet"


def test_the_configurations_are_where_hydra_looks() -> None:
    assert (conf_dir() / "config.yaml").is_file()
