from pathlib import Path

from analysis.study import album


def test_the_album_takes_the_runs_of_each_plate(tmp_path: Path) -> None:
    for name in ("fedra-0", "fedra-1", "inclusivefl-0", "inclusivefl-no-distillation-0", "depthfl-0"):
        (tmp_path / "test" / name).mkdir(parents=True)
    found = album.of_study(tmp_path, {"test": ("fedra-0", "inclusivefl")})
    assert [Path(each).name for each in found] == ["fedra-0", "inclusivefl-0"]


def test_the_album_leaves_out_what_was_not_run(tmp_path: Path) -> None:
    assert album.fill(tmp_path) == 0
    assert not (tmp_path / "figures" / "methods.md").exists()
