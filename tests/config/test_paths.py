from pathlib import Path

import pytest
from pyarrow import fs

import fedra_ray
from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import conf_dir, filesystem, resolve

PACKAGE = Path(fedra_ray.__file__).parent


def test_an_asset_lies_in_the_package() -> None:
    assert resolve("asset://glyphs.parquet") == PACKAGE / "assets" / "glyphs.parquet"


def test_other_paths_are_files() -> None:
    assert resolve("some/file.parquet") == Path("some/file.parquet")
    assert resolve("~/file.parquet") == Path.home() / "file.parquet"


def test_the_configurations_are_where_hydra_looks() -> None:
    assert (conf_dir() / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("some/images", Path.cwd() / "some" / "images"),
        ("/data/images", Path("/data/images")),
        ("~/images", Path.home() / "images"),
        ("asset://glyphs.parquet", PACKAGE / "assets" / "glyphs.parquet"),
        ("file:///data/images", Path("/data/images")),
    ],
)
def test_a_path_without_a_scheme_an_asset_and_a_file_uri_are_local(path: str, inside: Path) -> None:
    system, found = filesystem("dataset.root", path)
    assert isinstance(system, fs.LocalFileSystem)
    assert found == str(inside)


def test_a_bucket_is_a_file_system_of_its_own() -> None:
    """The region is given, so nothing is asked of the network."""
    system, found = filesystem("dataset.root", "s3://bucket/some/images?region=eu-west-1")
    assert system.type_name == "s3"
    assert found == "bucket/some/images"


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(
        SettingError, match=r"out=cupboard://shelf/box: is no file system that pyarrow knows: .*cupboard"
    ):
        filesystem("out", "cupboard://shelf/box")
