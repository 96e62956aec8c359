"""What a run has left in its folder is read one way, and what it is called."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from fedra_ray.config.errors import SettingError
from fedra_ray.config.labels import method_label
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.parts import to_parquet
from fedra_ray.run_dir.reading import UnfinishedError, apart, read_files, read_finished

CONFIG = {"method": {"name": "fedra", "label": "FedRA"}, "rounds": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with the configuration of a run, and nothing else."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return Folder(tmp_path)


def test_a_run_without_a_summary_is_unfinished(folder: Folder) -> None:
    run = read_files(folder)
    assert (run.config, run.summary) == (CONFIG, None)
    assert run.settings == {"method.name": "fedra", "method.label": "FedRA", "rounds": 2}
    with pytest.raises(UnfinishedError, match=r"holds no finished run: there is no summary\.json"):
        read_finished(folder)


def test_a_summary_is_read_or_given(folder: Folder) -> None:
    assert read_finished(folder, {"seed": 3}).summary == {"seed": 3}
    folder.write("summary.json", json.dumps({"seed": 4}).encode())
    assert read_files(folder).summary == read_finished(folder).summary == {"seed": 4}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", b""),
        ("config.yaml", b"a: [\nb"),
        ("config.yaml", b"\xff\x00{"),
        ("summary.json", b"3"),
        ("summary.json", b'{"seed": '),
    ],
)
def test_a_damaged_file_is_named_in_one_line(folder: Folder, name: str, content: bytes) -> None:
    folder.write("summary.json", b'{"seed": 4}')
    folder.write(name, content)
    for read in (read_files, read_finished):
        with pytest.raises(SettingError, match=rf"its {name} is damaged, or not that of a run \(") as refusal:
            read(folder)
        assert len(str(refusal.value).splitlines()) == 1


def test_an_empty_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"holds no finished run: there is no config\.yaml"):
        read_finished(Folder(tmp_path))
    with pytest.raises(SettingError, match="is a file; name the folder of a finished run"):
        read_finished(Folder(tmp_path / "file"))


def test_a_table_has_the_types_of_the_records(folder: Folder) -> None:
    folder.write("rounds.parquet", to_parquet(pa.table({"round": pa.array([1, 2], pa.int64()), "seconds": [0.5, 1.5]})))
    run = read_files(folder)
    assert run.table("rounds", ["round"]).schema.field("round").type == pa.int32()
    assert run.table("rounds").column_names == ["round", "seconds"]
    with pytest.raises(SettingError, match=r"its rounds\.parquet is damaged"):
        run.table("rounds", ["late"])
    with pytest.raises(SettingError, match=r"its clients\.parquet is damaged"):
        run.table("clients")


def test_a_method_is_called_by_its_label_and_the_optimisers_around_it() -> None:
    settings = {"method.name": "fedra", "method.label": None, "server_optimizer.label": "FedAdam"}
    assert method_label(settings) == "fedra + FedAdam"
    assert method_label({**settings, "method.label": "FedRA"}) == "FedRA + FedAdam"


def test_settings_that_differ_are_told_by_name_and_value() -> None:
    own, other = {"a": 1, "b": "x", "c": None, "d": [1, 2]}, {"a": 1, "b": "y", "d": [2, 1]}
    assert apart(own, [own, other], ["c"]) == ["b=x", "d=[1, 2]"]


def test_further_settings_of_a_section_count_among_runs_of_one_name() -> None:
    own = {"partition.name": "lazy", "partition.alpha": 1.0}
    assert apart(own, [own, {"partition.name": "iid", "partition.alpha": 2.0}], []) == ["partition.name=lazy"]
    assert apart(own, [own, {"partition.name": "lazy", "partition.alpha": 2.0}], []) == ["partition.alpha=1.0"]
