"""What every verb makes of each kind of override: a configuration, or one line and exit code 2."""

from pathlib import Path

import pytest

from fedra_ray.cli.compose import compose
from fedra_ray.cli.grid import compose_grid
from fedra_ray.cli.main import main
from fedra_ray.cli.overrides import parse, values
from fedra_ray.config.errors import SettingError

VALUES = {
    "seed=1,2": ["1", "2"],
    "seed=choice(1,2)": ["1", "2"],
    "seed=tag(mine,choice(1,2))": ["1", "2"],
    "seed=range(3)": ["0", "1", "2"],
    "seed=range(0,10,step=4)": ["0", "4", "8"],
    "seed=sort(3,1,2,reverse=true)": ["3", "2", "1"],
    "training.lr=range(0.1,0.4,0.1)": ["0.1", "0.2", "0.3"],
    "fleet.depths=[12,6],[3,3]": ["[12,6]", "[3,3]"],
    "method.options={draw:uniform},{draw:prefix}": ["{draw:uniform}", "{draw:prefix}"],
    "method=glob(all*)": ["alllarge", "allsmall"],
    "method=glob([all*,depth*],exclude=*large)": ["allsmall", "depthfl"],
    "experiment=glob(paper/extreme*,exclude=*beyond)": ["paper/extreme3", "paper/extreme4", "paper/extreme6"],
}


@pytest.mark.parametrize("override", VALUES)
def test_several_values_are_counted_out(override: str) -> None:
    (item,) = parse([override])
    assert values(item) == VALUES[override]


def test_shuffled_values_are_all_there() -> None:
    (item,) = parse(["seed=shuffle(range(9))"])
    assert sorted(values(item)) == [*"012345678"]


UNCOUNTABLE = {
    "seed=interval(0,1)": "an interval has no single values",
    "seed=tag(mine,interval(0,1))": "an interval has no single values",
    "method=glob(zzz*)": "matches none of alllarge, allsmall",
    "seed=glob(*)": "glob is for groups of settings: backbone",
    "seed=range(3,0)": "must have 1 to 10,000 values",
    "seed=range(0,1000000000)": "must have 1 to 10,000 values",
    "seed=shuffle(range(0,inf))": "must have 1 to 10,000 values",
    "seed=range(0,10,0)": "must have 1 to 10,000 values",
    "seed=choice(choice(1,2),3)": "",
    "seed=3,4,3": "names 3 more than once",
    "training.lr=0.1,1e-1": "names 0.1 more than once",
}


@pytest.mark.parametrize("override", UNCOUNTABLE)
def test_values_that_cannot_be_counted_out_are_refused(override: str) -> None:
    (item,) = parse([override])
    with pytest.raises(SettingError) as refusal:
        values(item)
    assert refusal.value.args[:2] == tuple(override.split("=", 1))
    assert UNCOUNTABLE[override] in str(refusal.value)


#: Kinds of overrides that no verb takes, and the setting that the message names.
REFUSED = {
    "+a=1": "+a",
    "++a=1": "+a",
    "+seed=1": "+seed",
    "+training.speed=1": "+training.speed",
    "+sweep.depth=1": "+sweep",
    "~a": "~a",
    "~rounds": "~rounds",
    "~training.lr=0.03": "~training.lr",
    "~method": "~method",
    "~fleet": "~fleet",
    "~seed=1,2": "~seed",
    "method@b=fedra": "method@b",
    "+method@b=fedra": "+method@b",
    "method@method@b=fedra": "method@method@b",
    "method=": "method",
    "method=null": "method",
    "method=[fedra,depthfl]": "method",
    "method={a:1}": "method",
    "seed=": "seed",
    "seed=???": "seed",
    "seed=[1": "seed",
    "seed={a:1}": "seed",
    "seed='1": "seed",
    "seed=1=2": "seed",
    "seed=1,,2": "seed",
    "seed=choice()": "seed",
    "seed=nothing(1)": "seed",
    "seed=${nothing}": "seed",
    "fleet.depths=[[12,3],[2]]": "fleet.depths",
    "fleet.depths=12": "fleet.depths",
    "fleet.depths={a:1}": "fleet.depths",
    "run_dir=/a/it's": "run_dir",
    "run_dir=null": "run_dir",
    "run_dir=[a]": "run_dir",
    "seed=" + "[" * 3000: "seed",
    "hydra.verbose=true": "hydra.verbose",
    "hydra/launcher=basic": "hydra/launcher",
    "rounds": "rounds",
    "=": "",
}


@pytest.mark.parametrize("verb", [["run"], ["plan"], ["sweep"], ["submit", "--", "sweep"], ["--multirun"]])
def test_an_override_that_means_nothing_ends_in_one_line(
    verb: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    for override, setting in REFUSED.items():
        if verb == ["--multirun"] and override.startswith(("hydra", "run_dir")):
            continue  # its own
        assert main([*verb, override]) == 2, override
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {setting}="), override


SEVERAL = ["seed=1,2", "seed=range(2)", "method=glob(*)", "seed=interval(0,1)", "+method.options.x=1,2", "seed=3,3"]


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_several_values_are_for_sweeps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for override in SEVERAL:
        assert main([verb, override]) == 2
        assert f"error: {override}: has several values, which are for sweep" in capsys.readouterr().err


#: Texts as a shell hands them over, and the folder that they mean.
FOLDERS = {
    "'/a/b c'": "/a/b c",
    '"/a/it\'s"': "/a/it's",
    r"'/a/it\'s'": "/a/it's",
    "'/a/b=c,d'": "/a/b=c,d",
    "'/a/é (1)#'": "/a/é (1)#",
    "/a/b c": "/a/b c",
    "/a/$HOME": "/a/$HOME",
    r"'/a/\${seed}'": "/a/${seed}",
    "/a/${method.name}": "/a/fedra",
    "/a/${oc.env:WHO}": "/a/it's me",
    "'/a/${oc.env:WHO}, b'": "/a/it's me, b",
    "'s3://b/a?region=eu'": "s3://b/a?region=eu",
}


@pytest.mark.parametrize("text", FOLDERS)
def test_a_folder_is_the_same_in_a_run_and_in_a_sweep(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "it's me")
    override = f"run_dir={text}"
    assert compose(override).run_dir == FOLDERS[text]
    grid = compose_grid([override, "seed=0,1"])
    place, mark, query = FOLDERS[text].partition("?")
    assert grid.folder == FOLDERS[text]
    assert [run.config.run_dir for run in grid.runs] == [f"{place}/seed={seed}{mark}{query}" for seed in (0, 1)]


def test_further_choices_may_be_in_a_folder_of_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("name: mine\ntarget: fedra_ray.methods.fedra.FedRA\n")
    where = f"hydra.searchpath=[{tmp_path}]"
    assert compose(where, "method=mine").method.name == "mine"
    runs = compose_grid([where, "method=mine,fedra"]).runs
    assert [run.config.method.name for run in runs] == ["mine", "fedra"]
    with pytest.raises(SettingError, match=r"glob sees no choices of hydra\.searchpath"):
        compose_grid([where, "method=glob(*)"])
    assert main(["--multirun", where, "method=mine", "rounds=0"]) == 2
    assert capsys.readouterr().err == "error: rounds=0: must be at least 1\n"
