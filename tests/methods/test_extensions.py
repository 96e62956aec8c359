"""Methods of other kinds fit the API: each here is small, and runs through the ordinary round."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import InProcess, finish
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.federation.allocation import Matrix, prefix, uniform
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientUpdate
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Method, Problem
from fedra_ray.model.submodel import Batch, Inputs, SubModel
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.folder import Folder


class Surrogates(Method):
    """In place of every absent block a per-channel gain, trained and averaged as a segment of its own."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.extra_names = tuple(f"gain_{layer}" for layer in range(self.num_layers))

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return uniform(depths, self.num_layers, rng)

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        return ("head", *(f"gain_{layer}" for layer in range(self.num_layers) if layer not in layers))

    def extra_modules(self, width: int) -> Mapping[str, nn.Module]:
        return {name: nn.Linear(width, 1, bias=False) for name in self.extra_names}

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        stream = model.embed(batch.inputs)
        for layer, block in enumerate(model.blocks):
            if layer in local.task.layers:
                stream = stream.after(block)
            else:
                gain = model.extras[f"gain_{layer}"].weight
                stream = stream._replace(tokens=stream.tokens * (1 + gain))
        scores = model.heads["head"](model.readout(stream.tokens))
        return functional.cross_entropy(scores, batch.labels)


class FrozenRun(Method):
    """Every client runs all blocks and trains the LoRA of those that it was given (the regime of Fed-HeLLo)."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return uniform(depths, self.num_layers, rng)

    def blocks(self, layers: Sequence[int]) -> tuple[int, ...]:
        return tuple(range(self.num_layers))


class RankSlices(Method):
    """A client of depth d trains the first d rank slices of every factor; the others stay as they came."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([self.num_layers] * len(depths), self.num_layers)

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        rank = self.depths[local.task.client % len(self.depths)]
        for name, parameter in model.named_parameters():
            if name.endswith("lora_A"):
                parameter.grad[rank:] = 0
            elif name.endswith("lora_B"):
                parameter.grad[:, rank:] = 0


class Collected:
    """Keeps every update as it is, by client."""

    def __init__(self) -> None:
        self.updates: dict[int, ClientUpdate] = {}

    def add(self, update: ClientUpdate) -> None:
        self.updates[update.task.client] = update

    def merge(self, other: "Collected") -> None:
        self.updates |= other.updates


class Median(Method):
    """The server takes the coordinate-wise median of whole models, which no sum gives."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([self.num_layers] * len(depths), self.num_layers)

    def reduction(self, layout: Layout) -> Collected:
        return Collected()

    def merge(self, state: ServerState, total: Collected) -> ServerState:
        updates = [total.updates[client].values for client in sorted(total.updates)]
        return ServerState(np.median(updates, axis=0).astype(np.float32), state.arrays)


class Moments(Method):
    """Clients also send float64 sums over their images, which the server adds exactly, as integers of 2^-40."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return uniform(depths, self.num_layers, rng)

    def begin(self, model: SubModel, local: LocalRound) -> None:
        local.scratch["sum"] = np.zeros(2)

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        local.scratch["sum"] += [len(batch.labels), batch.inputs.double().pow(2).mean().item()]
        return super().loss(model, batch, local)

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        return {"moments": local.scratch["sum"]}

    def reduction(self, layout: Layout) -> "WithMoments":
        return WithMoments()

    def merge(self, state: ServerState, total: "WithMoments") -> ServerState:
        return state.keeping(moments=total.fixed / 2**40)


class WithMoments:
    """An exact sum of float64 statistics: any order gives the same integers."""

    def __init__(self) -> None:
        self.fixed = np.zeros(2, np.int64)

    def add(self, update: ClientUpdate) -> None:
        self.fixed += np.rint(update.extra["moments"] * 2**40).astype(np.int64)

    def merge(self, other: "WithMoments") -> None:
        self.fixed += other.fixed


class Named(Method):
    """Takes its images by name, as a language model takes token ids and a mask."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([self.num_layers] * len(depths), self.num_layers)

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        named = Batch({"pixels": batch.inputs, "mask": torch.ones(len(batch.labels))}, batch.labels)
        return functional.cross_entropy(self.predict(model, named.inputs), named.labels)

    def predict(self, model: SubModel, inputs: Inputs) -> Tensor:
        pixels = inputs["pixels"] if isinstance(inputs, dict) else inputs
        return model.logits(pixels, self.evaluated_layers)


EXTENSIONS = [Surrogates, FrozenRun, RankSlices, Median, Moments, Named]


def configured(config: ExperimentConfig, method: type[Method]) -> ExperimentConfig:
    config.method = MethodConfig(method.__name__, target=f"{__name__}.{method.__name__}")
    return config


@pytest.mark.parametrize("method", EXTENSIONS, ids=lambda method: method.__name__)
def test_a_method_of_another_kind_runs_with_the_same_bits_in_any_order(
    method: type[Method], config: ExperimentConfig, tmp_path: Path
) -> None:
    configured(config, method)
    first = finish(InProcess(config), tmp_path / "first")
    second = finish(InProcess(config, arrival=5), tmp_path / "second")
    assert first.values.tobytes() == second.values.tobytes()
    assert first.scores == second.scores
    if method is not Moments:
        assert first.values.tobytes() != InProcess(config).blueprint.layout.initial(0).tobytes()


def test_further_segments_are_trained_and_averaged_where_they_were_held(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    workers = InProcess(configured(config, Surrogates))
    layout = workers.blueprint.layout
    assert layout.extra_names == ("gain_0", "gain_1", "gain_2", "gain_3")
    values = finish(workers, tmp_path).values
    sent = {name for update in workers.updates for name in update.task.sent}
    for index, name in enumerate(layout.extra_names):
        assert values[layout.segments[5 + index]].any() == (name in sent)


def test_blocks_that_run_frozen_count_in_the_plan_and_keep_the_global_values(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    workers = InProcess(configured(config, FrozenRun))
    finish(workers, tmp_path)
    task = workers.updates[-1].task
    assert task.blocks == (0, 1, 2, 3)
    assert len(task.layers) == 1
    assert len(task.frozen) == 3


def test_ranks_beyond_a_client_s_own_stay_as_they_came(config: ExperimentConfig, tmp_path: Path) -> None:
    configured(config, RankSlices)
    config.lora.rank, config.rounds, config.training.weight_decay = 4, 1, 0.0
    config.fleet.depths, config.fleet.num_clients = [2, 2, 2], 3
    workers = InProcess(config)
    layout = workers.blueprint.layout
    before = layout.tensors(layout.initial(config.seed))
    after = layout.tensors(finish(workers, tmp_path).values)
    for name, value in after.items():
        if name.endswith("lora_B"):
            assert value[:, :2].any()
            assert not value[:, 2:].any()
        elif name.endswith("lora_A"):
            np.testing.assert_allclose(value[2:], before[name][2:], rtol=0, atol=2**-32)  # the exact sum's resolution


def test_statistics_are_summed_exactly_and_kept_with_the_restart_point(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    workers = InProcess(configured(config, Moments), arrival=3)
    finish(workers, tmp_path)
    moments = checkpoint.newest(Folder(tmp_path)).state.arrays["moments"]
    last = [update.extra["moments"] for update in workers.updates if update.task.round == config.rounds]
    assert moments == pytest.approx(np.sum(last, axis=0), rel=1e-9)
