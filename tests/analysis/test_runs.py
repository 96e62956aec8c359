from pathlib import Path

import pytest
import yaml

from analysis.runs import parse_config, read_run
from fedra_ray.errors import SettingError


def test_a_run_is_read_with_its_typed_configuration(fedra_run: str) -> None:
    run = read_run(fedra_run)
    assert run.label == "FedRA"
    assert run.config.fleet.depths == [4, 2, 1]
    assert run.domains == ["dark", "light", "noisy"]
    assert run.num_layers == 4
    assert run.saved_rounds == [1, 2]
    assert run.table("clients")["client"].tolist() == [0, 1, 2] * 2


def test_a_uri_is_read_as_a_path_is(fedra_run: str) -> None:
    assert read_run(f"file://{fedra_run}").config == read_run(fedra_run).config


def test_the_draw_is_part_of_the_label() -> None:
    config = parse_config("allocation: {draw: balanced}")
    assert config.allocation.draw == "balanced"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="not the directory of a finished run"):
        read_run(str(tmp_path))


def test_a_run_of_another_version_is_refused(fedra_run: str, tmp_path: Path) -> None:
    settings = yaml.safe_load((Path(fedra_run) / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"colour": "red"}))
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(SettingError, match=r"another version.*colour"):
        read_run(str(tmp_path))


def test_a_missing_table_is_named(fedra_run: str) -> None:
    with pytest.raises(SettingError, match=r"nothing\.parquet"):
        read_run(fedra_run).table("nothing")
