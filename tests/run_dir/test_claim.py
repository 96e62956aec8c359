import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.claim import claim, prepare, shaping
from fedra_ray.run_dir.folder import Folder


def test_a_new_or_empty_directory_is_free(config: ExperimentConfig, tmp_path: Path) -> None:
    assert claim(Folder(tmp_path / "new"), config) is None
    (tmp_path / "empty").mkdir()
    assert claim(Folder(tmp_path / "empty"), config) is None
    assert not (tmp_path / "new").exists()


def test_other_files_are_never_overwritten(config: ExperimentConfig, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(SettingError, match="name a new or empty folder") as refusal:
            claim(Folder(path), config)
        assert refusal.value.args[:2] == ("run_dir", str(path))


def test_the_written_configuration_is_the_whole_one(config: ExperimentConfig, tmp_path: Path) -> None:
    prepare(Folder(tmp_path / "run"), config)
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written == dataclasses.asdict(config)


def test_an_interrupted_run_may_be_taken_up_again(config: ExperimentConfig, tmp_path: Path) -> None:
    prepare(Folder(tmp_path), config)
    assert claim(Folder(tmp_path), config) is None


def test_a_finished_run_gives_its_summary(config: ExperimentConfig, tmp_path: Path) -> None:
    prepare(Folder(tmp_path), config)
    (tmp_path / "summary.json").write_text(json.dumps({"mean_accuracy": 0.5}))
    assert claim(Folder(tmp_path), config) == {"mean_accuracy": 0.5}


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("runtime", "actors", 7),
        ("runtime", "num_gpus", 0.5),
        ("checkpoint", "every", 3),
        ("checkpoint", "keep", 9),
        ("watch", "wandb", "mine"),
    ],
)
def test_settings_that_never_change_a_result_may_change(
    part: str, setting: str, value: float, config: ExperimentConfig, tmp_path: Path
) -> None:
    prepare(Folder(tmp_path), config)
    setattr(getattr(config, part), setting, value)
    config.run_dir = "elsewhere"
    assert claim(Folder(tmp_path), config) is None


def test_a_mapping_that_an_older_version_did_not_have_changes_nothing_while_empty(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    settings = dataclasses.asdict(config)
    assert settings["fleet"].pop("profiles") == {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert claim(Folder(tmp_path), config) is None


def test_another_setting_is_refused(config: ExperimentConfig, tmp_path: Path) -> None:
    prepare(Folder(tmp_path), config)
    config.training.lr = 0.25
    with pytest.raises(SettingError, match=r"training.lr=0.25: .* holds a run with training.lr=0.1; choose another"):
        claim(Folder(tmp_path), config)


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"momentum": 0.2}), ({"momentum": 0.2}, {}), ({"momentum": 0.2, "cover": True}, {"momentum": 0.2})],
    ids=["added", "none left", "removed"],
)
def test_other_options_are_refused(
    before: dict[str, object], after: dict[str, object], config: ExperimentConfig, tmp_path: Path
) -> None:
    config.method.options = before
    prepare(Folder(tmp_path), config)
    config.method.options = after
    with pytest.raises(SettingError, match=r"method.options.* holds a run with"):
        claim(Folder(tmp_path), config)


def test_another_setting_goes_on_with_an_unfinished_run_only_if_forced(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    prepare(Folder(tmp_path), config)
    config.rounds = 9
    with pytest.raises(SettingError, match=r"rounds=9: .* holds a run with rounds=2; .* by resume=force"):
        claim(Folder(tmp_path), config)
    config.resume = "force"
    assert claim(Folder(tmp_path), config) is None
    (tmp_path / "summary.json").write_text(json.dumps({"mean_accuracy": 0.5}))
    with pytest.raises(SettingError, match=r"rounds=9: .* choose another run_dir$"):
        claim(Folder(tmp_path), config)


def test_devices_shape_a_result_only_by_a_deadline() -> None:
    settings = {"fleet.devices": ["phone"], "fleet.round_deadline": None, "seed": 3, "rounds": 5}
    assert shaping(settings) == {"fleet.round_deadline": None, "rounds": 5}
    settings["fleet.round_deadline"] = 2.0
    assert shaping(settings)["fleet.devices"] == ["phone"]
