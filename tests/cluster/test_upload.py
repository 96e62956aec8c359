"""What `ray job submit --working-dir .` uploads, by Ray's own walk over the files."""

import logging
import shutil
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import _dir_travel

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 50_000_000  # bytes: half of what the job API takes (DASHBOARD_CLIENT_MAX_SIZE of Ray)


def uploaded(folder: Path, include_gitignore: bool) -> list[Path]:
    found: list[Path] = []
    _dir_travel(folder, [], found.append, include_gitignore=include_gitignore, logger=logging.getLogger(__name__))
    return [path.relative_to(folder) for path in found if path.is_file()]


@pytest.mark.parametrize("include_gitignore", [True, False])
def test_upload_is_small_and_has_all_that_a_run_reads(include_gitignore: bool) -> None:
    files = uploaded(ROOT, include_gitignore)
    assert sum((ROOT / path).stat().st_size for path in files) < LIMIT
    needed = ["pyproject.toml", "fedra_ray/cli/main.py", "fedra_ray/assets/glyphs.parquet", "conf/config.yaml"]
    assert [name for name in needed if Path(name) not in files] == []
    published = list((ROOT / "analysis" / "published").iterdir())
    assert published
    assert {path.relative_to(ROOT) for path in published} <= set(files)


@pytest.mark.parametrize("include_gitignore", [True, False])
def test_environments_histories_results_and_tests_stay_at_home(include_gitignore: bool, tmp_path: Path) -> None:
    shutil.copy(ROOT / ".rayignore", tmp_path)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    home = [
        ".venv/bin/python",
        ".venv-flower/bin/python",
        ".git/HEAD",
        ".ci/run",
        "runs/first/config.yaml",
        "outputs/a",
        "multirun/a",
        "data/a.jpg",
    ]
    home += ["tests/cli/test_run.py", "studies/a.parquet", "benchmarks/a.json", "build/a.whl", "dist/a.whl"]
    home += ["fedra_ray/__pycache__/cli.pyc", ".ruff_cache/a", ".mypy_cache/a", ".pytest_cache/a", ".hypothesis/a"]
    home += ["fedra_ray.egg-info/PKG-INFO", "vit.pt", "last.ckpt", "cluster/aws.yaml", "docs/benchmark.png", "uv.lock"]
    along = [
        "fedra_ray/data/tree.py",
        "conf/config.yaml",
        "analysis/questions/table.py",
        "analysis/published/fedra.yaml",
    ]
    for name in [*home, *along]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    kept = {path.as_posix() for path in uploaded(tmp_path, include_gitignore)} - {".rayignore", ".gitignore"}
    assert kept == set(along)


def test_git_file_of_a_worktree_stays_at_home(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".rayignore", tmp_path)
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    assert uploaded(tmp_path, include_gitignore=True) == [Path(".rayignore")]
