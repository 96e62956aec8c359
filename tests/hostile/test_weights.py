"""Checkpoints of a stranger: `backbone.checkpoint` is refused by name, and none runs a line of code."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.backbone import normalisation
from fedra_ray.model.weights import load_weights

State = dict[str, torch.Tensor]
WEIGHT = "blocks.1.mlp.fc2.weight"


@pytest.fixture
def refusal_of(vit_config: BackboneConfig) -> Callable[[Path], str]:
    """The line with which a file is refused as the miniature ViT's weights."""

    def refuse(file: Path) -> str:
        with pytest.raises(SettingError) as refusal:
            load_weights(replace(vit_config, checkpoint=str(file)))
        assert refusal.value.args[:2] == ("backbone.checkpoint", str(file))
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    return refuse


@pytest.fixture
def state(vit_config: BackboneConfig) -> State:
    return load_file(str(vit_config.checkpoint))


def safetensors(header: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if claimed is None else claimed) + header


def described(**entry: Any) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}).encode()


BYTES: dict[str, bytes] = {
    "nothing": b"",
    "text": b"not weights\n",
    "zeros": b"\0" * 1000,
    "HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "a header of 2^60 bytes": safetensors(b"{}", 2**60),
    "a header of 2^64-1 bytes": safetensors(b"{}", 2**64 - 1),
    "a header that is no JSON": safetensors(b"{{{{"),
    "a header that is a list": safetensors(b"[]"),
    "no tensors": safetensors(b"{}"),
    "a tensor beyond the file": safetensors(described(data_offsets=[0, 2**50], shape=[2**48])),
    "a tensor before the file": safetensors(described(data_offsets=[-4, 0])),
    "a tensor backwards": safetensors(described(data_offsets=[4, 0])),
    "a tensor of 2^62 x 2^62": safetensors(described(shape=[2**62, 2**62])),
    "a tensor of unknown numbers": safetensors(described(dtype="F13")),
    "a ZIP archive alone": b"PK\x05\x06" + b"\0" * 18,
    "a pickle of nothing": pickle.dumps(None),
    "a pickle of text": pickle.dumps({"a": "b"}),
    "a pickle of a list": pickle.dumps([1, 2]),
    "a pickle without end": b"\x80\x04" + b"(" * 1000,
    "a pickle of 2^62 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62),
}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("case", BYTES)
def test_what_is_no_checkpoint_is_refused(
    case: str, suffix: str, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(BYTES[case])
    refusal_of(file)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(
    share: float, state: State, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(state, tmp_path / "weights.pth")
    for file in (tmp_path / "weights.safetensors", tmp_path / "weights.pth"):
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        assert "cannot be read" in refusal_of(file)


def with_value(value: float) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[WEIGHT][3, 5] = value

    return change


CHANGES: dict[str, tuple[Callable[[State], Any], str]] = {
    "a tensor missing": (lambda state: state.pop(WEIGHT), WEIGHT),
    "a tensor too many": (lambda state: state.update(extra=torch.zeros(1)), "extra"),
    "a tensor of another shape": (lambda state: state.update({WEIGHT: state[WEIGHT].T.contiguous()}), WEIGHT),
    "a tensor of integers": (lambda state: state.update({WEIGHT: state[WEIGHT].to(torch.int32)}), "torch.int32"),
    "a tensor of truths": (lambda state: state.update({WEIGHT: state[WEIGHT] > 0}), "torch.bool"),
    "a value that is not a number": (with_value(float("nan")), f"{WEIGHT} has values that are not finite"),
    "an infinite value": (with_value(float("-inf")), f"{WEIGHT} has values that are not finite"),
    "all tensors empty": (lambda state: state.update({name: torch.zeros(0) for name in state}), "does not fit"),
    "no tensors": (lambda state: state.clear(), "there are no tensors"),
    "a classifier alone": (lambda state: (state.clear(), state.update({"head.bias": torch.zeros(3)})), "no tensors"),
}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("case", CHANGES)
def test_tensors_of_another_model_are_refused(
    case: str, suffix: str, state: State, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    change, expected = CHANGES[case]
    change(state)
    file = tmp_path / f"weights.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    assert expected in refusal_of(file)


def test_a_number_too_large_for_32_bits_is_refused(
    state: State, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    state[WEIGHT] = state[WEIGHT].double()
    state[WEIGHT][0, 0] = 1e300
    save_file(state, tmp_path / "weights.safetensors")
    assert f"{WEIGHT} has values that are not finite" in refusal_of(tmp_path / "weights.safetensors")


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.marker,)


WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "alone": lambda payload: payload,
    "among tensors": lambda payload: {"a": torch.zeros(1), "b": payload},
    "in a training checkpoint": lambda payload: {"state_dict": {}, "args": payload},
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "bin"])
@pytest.mark.parametrize(
    "save", [torch.save, lambda what, file: file.write_bytes(pickle.dumps(what))], ids=["torch", "pickle"]
)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_checkpoint_cannot_run_code(
    wrapping: str, save: Callable[[Any, Path], Any], suffix: str, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    marker, file = tmp_path / "marker", tmp_path / f"weights.{suffix}"
    save(WRAPPINGS[wrapping](Payload(marker)), file)
    refusal_of(file)
    assert not marker.exists()
    if suffix != "safetensors":  # the same file does run code where code may be unpickled
        with suppress(RuntimeError):  # afterwards torch says that it is no checkpoint
            torch.load(file, weights_only=False)
        assert marker.exists()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["mkfifo", "mkdir", "loop"])
def test_a_checkpoint_that_is_no_regular_file_is_refused_at_once(
    name: str, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    {"mkfifo": os.mkfifo, "mkdir": os.mkdir, "loop": make_loop}[name](file)
    assert "no such file" in refusal_of(file)


CONFIGURATIONS = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b"\xff",
    "a list": b"[]",
    "nested beyond any reason": b"[" * 100_000,
    "null": b'{"pretrained_cfg": null}',
    "text": b'{"pretrained_cfg": "abc"}',
    "mean text": b'{"pretrained_cfg": {"mean": "abc", "std": "abc"}}',
    "mean of text": b'{"pretrained_cfg": {"mean": ["a", "b", "c"], "std": [1, 1, 1]}}',
    "mean of lists": b'{"pretrained_cfg": {"mean": [[1], [1], [1]], "std": [1, 1, 1]}}',
    "mean of two": b'{"pretrained_cfg": {"mean": [0, 0], "std": [1, 1]}}',
    "mean not a number": b'{"pretrained_cfg": {"mean": [NaN, 0, 0], "std": [1, 1, 1]}}',
    "mean of 1000 digits": b'{"pretrained_cfg": {"mean": [1' + b"0" * 1000 + b', 0, 0], "std": [1, 1, 1]}}',
    "deviation 0": b'{"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 0, 1]}}',
    "deviation negative": b'{"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, -1, 1]}}',
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_hostile_configuration_beside_a_checkpoint_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIGURATIONS[case])
    with pytest.raises(SettingError, match=r"^backbone\."):
        normalisation(BackboneConfig(checkpoint=str(tmp_path / "weights.safetensors")))


@given(content=st.binary(max_size=200), suffix=st.sampled_from(["safetensors", "pth"]))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_checkpoint_are_refused(
    content: bytes, suffix: str, refusal_of: Callable[[Path], str], tmp_path: Path
) -> None:
    file = tmp_path / f"weights.{suffix}"
    for framed in (content, safetensors(content)):
        file.write_bytes(framed)
        refusal_of(file)


@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_checkpoint_gives_finite_weights_or_a_refusal(
    changes: list[tuple[int, int]], vit_config: BackboneConfig, tmp_path: Path
) -> None:
    content = bytearray(Path(str(vit_config.checkpoint)).read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (tmp_path / "weights.safetensors").write_bytes(content)
    try:
        weights = load_weights(replace(vit_config, checkpoint=str(tmp_path / "weights.safetensors")))
    except SettingError:
        return
    assert all(np.isfinite(value).all() for value in weights.values())
