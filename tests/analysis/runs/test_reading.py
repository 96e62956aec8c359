from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from analysis.runs.reading import UnfinishedError, read_run, read_runs
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, FleetConfig, WrapperConfig


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


def test_the_label_names_the_method_and_the_optimisers_around_it(fedra_run: str) -> None:
    run = read_run(fedra_run)
    assert run.label == "FedRA"
    config = replace(run.config, server_optimizer=WrapperConfig("fedadam", label="FedAdam"))
    assert replace(run, config=config).label == "FedRA + FedAdam"


@pytest.mark.parametrize(
    ("depths", "dynamic", "fleet"),
    [
        ([3, 12, 6], False, "12 6 3"),
        ([3, 3, 3], False, "all 3"),
        ([6, 3, 3, 6, 3, 3], False, "6 3 3"),
        ([3, 12], True, "3 12, dynamic"),
    ],
)
def test_a_fleet_is_named_by_its_shares_of_depths(depths: list[int], dynamic: bool, fleet: str, fedra_run: str) -> None:
    config = ExperimentConfig(fleet=FleetConfig(**{"depths": depths, "dynamic": dynamic}))
    assert replace(read_run(fedra_run), config=config).fleet == fleet


def test_an_unfinished_run_does_not_hide_the_others(
    fedra_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.yaml").write_bytes((Path(fedra_run) / "config.yaml").read_bytes())
    (run,) = read_runs([str(begun), fedra_run])
    assert str(run.folder) == fedra_run
    assert capsys.readouterr().err.startswith(f"left out: RUN_DIR={begun}: ")
    with pytest.raises(UnfinishedError, match=r"there is no summary\.json"):
        read_runs([str(begun)])
    with pytest.raises(SettingError, match=r"there is no config\.yaml"):
        read_runs([fedra_run, str(tmp_path)])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds no finished run"):
        read_run(str(tmp_path))


def test_a_run_of_another_version_is_refused(fedra_run: str, tmp_path: Path) -> None:
    settings = yaml.safe_load((Path(fedra_run) / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"colour": "red"}))
    (tmp_path / "summary.json").write_bytes((Path(fedra_run) / "summary.json").read_bytes())
    with pytest.raises(SettingError, match=r"another version.*colour"):
        read_run(str(tmp_path))


def test_a_missing_table_is_named(fedra_run: str) -> None:
    with pytest.raises(SettingError, match=r"nothing\.parquet"):
        read_run(fedra_run).table("nothing")
