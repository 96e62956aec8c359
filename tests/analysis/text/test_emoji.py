"""The data set of emoji's names: classes, languages, and concepts that are in one split alone."""

import json
import tarfile
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis.text import __main__ as command
from analysis.text import emoji, fetch
from fedra_ray import compose
from fedra_ray.config.checks import check
from fedra_ray.config.errors import RunFailedError

PEOPLE = [("1F9D1-200D-1F373", "cook"), ("1F468-200D-1F373", "man cook"), ("1F469-200D-1F373", "woman cook")]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Emojibase in miniature: three groups, two languages, the last of which lacks an emoji."""
    folder = tmp_path / "emojibase"
    known = [*((code, name, 1) for code, name in PEOPLE), ("1F415", "dog", 3), ("1F3FB", "light skin", 2)]
    known += [("1F1EB-1F1F7", "flag: France", 9), ("1F1EB", "regional indicator F", None)]
    known += [(f"{0x1F400 + number:X}", f"animal {number}", 3) for number in range(20)]
    (folder / "meta").mkdir(parents=True)
    groups = {"1": "people-body", "2": "component", "3": "animals-nature", "9": "flags"}
    (folder / "meta" / "groups.json").write_text(json.dumps({"groups": groups}))
    for language, listed in (("en", known), ("fr", [each for each in known if each[1] != "dog"])):
        (folder / language).mkdir()
        described = [{"hexcode": code, "label": f"{language} {name}", "group": group} for code, name, group in listed]
        for entry in described:
            if entry["group"] is None:
                del entry["group"]
        (folder / language / "data.json").write_text(json.dumps(described))
    return folder


def test_a_row_is_a_name_with_its_group_and_language(package: Path) -> None:
    rows = list(emoji.rows(package, ["en", "fr"]))
    assert len(rows) == 3 + 1 + 20 + 3 + 20
    assert rows[1] == {
        "text": "en man cook",
        "label": 0,
        "label_name": "people-body",
        "domain": "en",
        "split": emoji.split_of("1F373"),
        "concept": "1F373",
    }
    assert {(row["label"], row["label_name"]) for row in rows} == {(0, "people-body"), (1, "animals-nature")}


def test_a_concept_is_in_one_split_whoever_it_shows_and_in_whatever_language(package: Path) -> None:
    splits = defaultdict(set)
    for row in emoji.rows(package, ["en", "fr"]):
        splits[row["concept"]].add(row["split"])
    assert {len(found) for found in splits.values()} == {1}
    assert {split for found in splits.values() for split in found} == {"train", "validation", "test"}
    assert {emoji.concept_of(code) for code, _ in PEOPLE} == {"1F373"}
    assert emoji.concept_of("1F468") == "1F468"  # a man alone


def test_the_shares_of_splits_are_those_that_are_stated() -> None:
    splits = [emoji.split_of(str(number)) for number in range(4000)]
    assert splits.count("test") / 4000 == pytest.approx(emoji.TEST, abs=0.03)
    assert splits.count("validation") / 4000 == pytest.approx(emoji.VALIDATION, abs=0.03)


def test_the_file_has_all_rows(package: Path, tmp_path: Path) -> None:
    assert emoji.write(package, tmp_path / "emoji.parquet", ["en"]) == 24
    table = pq.read_table(tmp_path / "emoji.parquet")
    assert table.column_names == ["text", "label", "label_name", "domain", "split", "concept"]


def test_another_archive_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("names")
    archive = tmp_path / "pack.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(tmp_path / "page.txt", "package/page.txt")
    fetch.unpack(archive, sha256(archive.read_bytes()).hexdigest(), tmp_path / "out")
    assert (tmp_path / "out" / "package" / "page.txt").read_text() == "names"
    with pytest.raises(RunFailedError, match=r"pack.tgz has the SHA-256 .* and not the pinned aaaa"):
        fetch.unpack(archive, "a" * 64, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_the_experiment_reads_what_the_command_leaves_by_default() -> None:
    config = compose("experiment=text/emoji", "method=alllarge")
    check(config)
    assert config.dataset.root == "data/text/emoji.parquet"
    assert config.backbone.source == "data/text/minilm"
    assert (config.backbone.mean, config.backbone.model_args) == (None, {})


def test_what_is_there_is_kept_and_a_missing_client_is_named(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = package.parent
    (out / "minilm").mkdir()
    monkeypatch.setattr(command, "write", lambda folder, file: emoji.write(folder, file, ["fr"]))
    assert command.main(["--out", str(out), "--only-data"]) == 0
    assert "emoji.parquet: 23 texts" in capsys.readouterr().out
    assert command.main(["--out", str(out), "--only-data"]) == 0
    assert capsys.readouterr().out == ""
    package.rename(out / "gone")
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    assert command.main(["--out", str(out), "--only-data"]) == 1
    assert "the names of emoji are a package of npm, which is not installed" in capsys.readouterr().err
