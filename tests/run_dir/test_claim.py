import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.run_dir.claim import claim, prepare, shaping
from fedra_ray.run_dir.folder import Folder


def is_free(folder: Path, config: ExperimentConfig) -> bool:
    """Whether the experiment may use a directory in which it has not finished; lets go of it again."""
    claimed = claim(Folder(folder), config)
    claimed.release()
    return claimed.finished is None and claimed.lease is not None


def test_a_new_or_empty_directory_is_free(config: ExperimentConfig, tmp_path: Path) -> None:
    assert is_free(tmp_path / "new", config)
    (tmp_path / "empty").mkdir()
    assert is_free(tmp_path / "empty", config)
    assert not (tmp_path / "new").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_a_claimed_directory_is_refused_to_any_other_run_until_it_is_released(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    first = claim(Folder(tmp_path / "run"), config)
    other = dataclasses.replace(config, seed=7)
    with pytest.raises(SettingError, match=r"run_dir=.*: is in use by process \d+ on .* since 20"):
        claim(Folder(tmp_path / "run"), other)
    prepare(Folder(tmp_path / "run"), config)
    with pytest.raises(SettingError, match=r"seed=7: .* holds a run with seed=0"):
        claim(Folder(tmp_path / "run"), other)
    first.release()
    assert is_free(tmp_path / "run", config)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


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
    assert is_free(tmp_path, config)


def test_a_finished_run_gives_its_summary(config: ExperimentConfig, tmp_path: Path) -> None:
    prepare(Folder(tmp_path), config)
    (tmp_path / "summary.json").write_text(json.dumps({"mean_accuracy": 0.5}))
    claimed = claim(Folder(tmp_path), config)
    assert claimed.finished == {"mean_accuracy": 0.5}
    assert claimed.lease is None


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
    assert is_free(tmp_path, config)


def test_a_mapping_that_an_older_version_did_not_have_changes_nothing_while_empty(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    settings = dataclasses.asdict(config)
    assert settings["fleet"].pop("profiles") == {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert is_free(tmp_path, config)


def written_without(setting: str, config: ExperimentConfig, folder: Path) -> None:
    """Leave the run of a version that did not have a setting."""
    section, *rest = setting.split(".")
    settings = dataclasses.asdict(config)
    place = settings[section]
    for name in rest[:-1]:
        place = place[name]
    del place[rest[-1]]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def test_a_setting_that_an_older_version_did_not_have_had_its_default(config: ExperimentConfig, tmp_path: Path) -> None:
    written_without("backbone.head", config, tmp_path)
    assert is_free(tmp_path, config)
    (tmp_path / "summary.json").write_text(json.dumps({"mean_accuracy": 0.5}))
    assert claim(Folder(tmp_path), config).finished == {"mean_accuracy": 0.5}
    config.backbone.head = "own"
    with pytest.raises(SettingError, match=r"backbone.head=own: .* holds a run with backbone.head=trained; choose"):
        claim(Folder(tmp_path), config)


def test_an_option_that_an_older_version_did_not_have_had_the_default_of_its_class(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.method = MethodConfig("fedra", "fedra_ray.methods.fedra.FedRA", options={"draw": "uniform"})
    written_without("method.options.draw", config, tmp_path)
    assert is_free(tmp_path, config)
    config.method.options["draw"] = "balanced"
    with pytest.raises(SettingError, match=r"method.options.draw=balanced: .* with method.options.draw=uniform"):
        claim(Folder(tmp_path), config)


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
    assert is_free(tmp_path, config)
    (tmp_path / "summary.json").write_text(json.dumps({"mean_accuracy": 0.5}))
    with pytest.raises(SettingError, match=r"rounds=9: .* choose another run_dir$"):
        claim(Folder(tmp_path), config)


def test_devices_shape_a_result_only_by_a_deadline() -> None:
    settings = {"fleet.devices": ["phone"], "fleet.round_deadline": None, "seed": 3, "rounds": 5}
    assert shaping(settings) == {"fleet.round_deadline": None, "rounds": 5}
    settings["fleet.round_deadline"] = 2.0
    assert shaping(settings)["fleet.devices"] == ["phone"]
