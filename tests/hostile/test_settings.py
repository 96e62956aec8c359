"""Settings that cannot work end the command in one line, with exit code 2, before any actor starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedra_ray.cli.main import main

#: Overrides, and what the line must say.
CASES: dict[str, tuple[str, str]] = {
    "rounds null": ("rounds=null", "rounds"),
    "rounds not a number": ("rounds=nan", "Integer"),
    "rounds negative": ("rounds=-1", "rounds=-1: must be at least 1"),
    "rounds 10^9": ("rounds=1000000000", "rounds=1000000000: must be at most 999999"),
    "seed beyond 64 bits": ("seed=99999999999999999999", "seed=99999999999999999999: must be at most"),
    "seed missing": ("seed=???", "seed"),
    "lr infinite": ("training.lr=inf", "training.lr=inf: must be a finite number"),
    "lr not a number": ("training.lr=nan", "training.lr=nan: must be greater than 0"),
    "momentum infinite": ("training.momentum=inf", "training.momentum=inf: must be at least 0 and below 1"),
    "weight decay infinite": ("training.weight_decay=inf", "training.weight_decay=inf: must be a finite number"),
    "clip norm infinite": ("training.clip_norm=inf", "training.clip_norm=inf: must be a finite number"),
    "local epochs 10^9": ("training.local_epochs=1000000000", "training.local_epochs=1000000000: must be at most"),
    "batch beyond 64 bits": ("training.batch_size=99999999999999999999", "training.batch_size=9"),
    "rank 10^9": ("lora.rank=1000000000", "lora.rank=1000000000: must be at most 4096"),
    "rank beyond 64 bits": ("lora.rank=99999999999999999999", "lora.rank=9"),
    "no targets": ("lora.targets=[]", "attn.proj"),
    "an empty target": ("lora.targets=['']", "attn.proj"),
    "clients 10^9": ("fleet.num_clients=1000000000", "fleet.num_clients=1000000000: must be at most 1000000"),
    "clients beyond 64 bits": ("fleet.num_clients=99999999999999999999", "fleet.num_clients=9"),
    "depths a number": ("fleet.depths=4", "fleet.depths"),
    "depths of lists": ("fleet.depths=[[1]]", "fleet.depths=[[1]]: must be a list, every item a whole number"),
    "memory infinite": ("fleet.memory_mb=[inf]", "fleet.memory_mb=inf: must be a finite number"),
    "a device that nobody knows": ("fleet.devices=[fridge]", "each one of edge_gpu, laptop, phone, workstation"),
    "a device without speed": (
        "+fleet.profiles={fridge:{gflops:0,download_mbps:1,upload_mbps:1,memory_mb:1}}",
        "fleet.profiles.fridge.gflops=0.0: must be greater than 0",
    ),
    "a profile of a profile": ("+fleet.profiles.fridge.gflops.x=1", "fleet.profiles.fridge.gflops.x"),
    "concentration infinite": ("partition.alpha=inf", "partition.alpha=inf: must be a finite number"),
    "concentration huge": ("partition.alpha=1e308", "partition.alpha=1e+308: must be a finite number"),
    "images of a client 10^9": ("partition.min_size=1000000000", "24 training images"),
    "no images of a lazy client": ("partition.examples_per_client=0", "examples_per_client=0: must be at least 1"),
    "images of a lazy client null": ("partition.examples_per_client=null", "partition.examples_per_client"),
    "images of a lazy client beyond 64 bits": ("partition.examples_per_client=99999999999999999999", "must be at most"),
    "GPU share tiny": ("runtime.num_gpus=1e-320", "runtime.num_gpus"),
    "GPU share infinite": ("runtime.num_gpus=inf", "runtime.num_gpus=inf"),
    "CPUs infinite": ("runtime.num_cpus=inf", "runtime.num_cpus=inf: must be a finite number"),
    "cache empty": ("dataset.cache=''", "dataset.cache=: must name a folder"),
    "cache below a device": ("dataset.cache=/dev/null/x", "dataset.cache=/dev/null/x: is no folder"),
    "root a list": ("dataset.root=[1]", "dataset.root"),
    "root of no known kind": ("dataset.root=http://x/y", "no file system that pyarrow knows"),
    "root of no known user": ("dataset.root='~nobody at all/x'", "no such Parquet file"),
    "root beyond any name": (f"dataset.root='{'a' * 1000}'", "dataset.root=aaaa"),
    "root with a control character": ("dataset.root='\x1b[31mred'", r"\x1b[31mred"),
    "share not a number": ("dataset.options.test=nan", "dataset.options.test=nan: must be a finite number"),
    "share text": ("dataset.options.test=x", "dataset.options.test=x: must be a number"),
    "share above 1": ("dataset.options.test=2", "shares must be at least 0 and sum below 1"),
    "columns text": ("dataset.options.columns=x", "dataset.options.columns=x: must be a mapping"),
    "column null": ("dataset.options.columns.image=null", "must be a mapping, every value text"),
    "column of images for labels": ("dataset.options.columns.label=image", "must have text or integers; it has binary"),
    "an option that the model gives": ("+method.options.problem=3", "follows from other settings"),
    "an option that the root gives": ("+dataset.options.root=/x", "follows from other settings"),
    "run_dir empty": ("run_dir=''", "run_dir=: must name a folder"),
    "run_dir null": ("run_dir=null", "run_dir"),
    "run_dir below a device": ("run_dir=/dev/null/run", "run_dir=/dev/null/run: is no folder that can be made"),
    "run_dir of no known user": ("run_dir='~nobody at all/x'", "is no folder that can be made"),
    "run_dir beyond any name": (f"run_dir='{'a' * 300}'", "is no folder that can be made"),
    "interpolation of nothing": ("run_dir=${missing}", "missing"),
    "interpolation of an unset variable": ("run_dir=${oc.env:NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE"),
    "interpolation of itself": ("run_dir=${run_dir}", "Recursive interpolation"),
    "interpolation of no known kind": ("rounds=${eval:1}", "Unsupported interpolation type eval"),
    "interpolation left open": ("run_dir='${a'", "run_dir"),
    "no value": ("rounds", "rounds=: has no value; write SETTING=VALUE"),
    "two values": ("rounds=1=2", "rounds=1=2"),
    "a sweep": ("rounds=2,3", "rounds"),
    "a mapping left open": ("fleet.depths={", "fleet.depths={"),
    "a quotation left open": ("rounds='2", "rounds='2"),
    "a setting added twice": ("+rounds=3", "rounds"),
    "a group that leaves the folder": ("method=../../x", "method=../../x"),
    "a group with an absolute path": ("method=/etc/passwd", "method=/etc/passwd"),
    "a group that is the whole": ("dataset=../config", "dataset=../config"),
    "an experiment that leaves the folder": ("experiment=../../../etc/passwd", "experiment=../../../etc/passwd"),
    "a group null": ("method=null", "null"),
    "two of a group": ("method=[fedra,depthfl]", "method"),
    "target a function": ("method.target=os.system", "must be a subclass of"),
    "target a module": ("method.target=fedra_ray.methods.fedra", "must be a subclass of"),
    "target relative": ("method.target=..x", "cannot be imported"),
    "target empty": ("method.target=''", "cannot be imported"),
    "target of a module that raises": ("method.target=hostile_explodes.X", "cannot be imported: RuntimeError: boom"),
    "target of a module that exits": ("method.target=hostile_exits.X", "cannot be imported: SystemExit: 3"),
    "a method that raises": ("method.target=hostile_classes.FaultyMethod", "cannot be made: ZeroDivisionError"),
    "a data set that raises": ("dataset.target=hostile_classes.FaultyDataset", "cannot be made: KeyError"),
    "model from elsewhere": ("backbone.model=local-dir:/etc", "a name that timm.list_models knows"),
    "model a function": ("backbone.model=timm.models.load_state_dict", "timm cannot make it"),
    "10^9 blocks": ("++backbone.model_args.depth=1000000000", "must be at most 65536"),
    "no pixels": ("++backbone.model_args.img_size=0", "timm cannot make it"),
    "not square": ("++backbone.model_args.img_size=[16,32]", "backbone.model"),
    "weights by the back door": ("++backbone.model_args.checkpoint_path=/x.pth", "follows from other settings"),
    "the hub by the back door": ("++backbone.model_args.pretrained=true", "follows from other settings"),
    "mean not a number": ("backbone.mean=[nan,1,1]", "backbone.mean=nan: must be a finite number"),
    "mean of lists": ("backbone.mean=[[1,2],[3,4],[5,6]]", "backbone.mean"),
    "deviation infinite": ("backbone.std=[inf,1,1]", "backbone.std=inf: must be a finite number"),
    "deviation 0": ("backbone.std=[0,1,1]", "must be greater than 0"),
    "deviation 0 in 32 bits": ("backbone.std=[1e-300,1,1]", "must be greater than 0"),
    "checkpoint a device": ("backbone.checkpoint=/dev/zero", "no such file"),
    "checkpoint beyond any name": (f"backbone.checkpoint='{'a' * 1000}'", "no such file"),
    "checkpoint of no known user": ("backbone.checkpoint='~nobody at all/x'", "no such file"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_setting_is_refused_in_one_line(case: str, refused: Callable[..., str]) -> None:
    override, expected = CASES[case]
    assert expected in refused(override)


@pytest.mark.parametrize(("shards", "expected"), [(25, "24 training images, too few"), (10**9, "at most 10000")])
def test_more_shards_than_images_are_refused(shards: int, expected: str, refused: Callable[..., str]) -> None:
    assert expected in refused("partition=shards", f"partition.shards_per_client={shards}")


def test_more_images_than_a_lazy_clients_domain_has_are_refused(refused: Callable[..., str]) -> None:
    assert "24 training images" in refused("partition=lazy", "fleet.clients_per_round=3", "partition.min_size=25")


@pytest.mark.parametrize("drawn", ["[nan,nan,nan]", "[inf,0,0]", "[1,1,-1]", "[1,0]", "[]"])
def test_probabilities_that_are_none_are_refused(drawn: str, refused: Callable[..., str]) -> None:
    assert "that sum to 1" in refused("fleet.dynamic=true", f"fleet.probabilities={drawn}")


@pytest.mark.parametrize("below", ["", "/sub", "/sub/sub"])
def test_a_run_directory_at_or_below_a_file_is_refused(below: str, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "run_dir=" in refused(f"run_dir={tmp_path / 'file'}{below}")


def test_a_run_directory_with_other_files_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert "holds other files" in refused(f"run_dir={tmp_path / 'mine'}")


PREPARATIONS: dict[str, tuple[str, str]] = {
    "image size 10^9": ("image_size=1000000000", "image_size=1000000000: must be at most 4096"),
    "image size 0": ("image_size=0", "image_size=0: must be at least 1"),
    "quality above 100": ("quality=101", "quality=101: must be at most 100"),
    "no images a shard": ("shard_images=0", "shard_images=0: must be at least 1"),
    "shards beyond 64 bits": ("shard_images=99999999999999999999", "shard_images=9"),
    "unknown format": ("format=exe", "format=exe: must be one of jpeg, png"),
    "out a device": ("out=/dev/null", "out=/dev/null: is no folder that can be made"),
    "out below a device": ("out=/dev/null/x", "out=/dev/null/x: is no folder that can be made"),
    "out of no known kind": ("out=gopher://x/y", "out=gopher://x/y"),
    "out missing": ("out=???", "out"),
}


@pytest.mark.parametrize("case", PREPARATIONS)
def test_a_hostile_preparation_is_refused_in_one_line(
    case: str, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    override, expected = PREPARATIONS[case]
    known = ["dataset=parquet", f"dataset.root={world / 'shapes.parquet'}", f"out={tmp_path / 'out'}", "image_size=16"]
    kept = [setting for setting in known if setting.partition("=")[0] != override.partition("=")[0]]
    assert main(["prepare", *kept, override]) == 2
    message = capfd.readouterr().err
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert expected in message
