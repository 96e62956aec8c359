from collections.abc import Callable

import numpy as np
import pytest
import torch

from analysis.runs.aggregates import Aggregate, factors_at
from analysis.runs.reading import read_run
from analysis.runs.replay import Replay
from analysis.runs.tuned import Tuned
from fedra_ray.config.schema import ExperimentConfig


@pytest.fixture(scope="module")
def tuned(fedra_run: str) -> Tuned:
    replay = Replay(read_run(fedra_run))
    values = replay.values(1)
    return Tuned.of(replay, values, replay.train(replay.tasks(2), 1))


def test_clients_hold_their_own_layers_and_the_global_rest(tuned: Tuned) -> None:
    layout = tuned.replay.layout
    for update, mine in zip(tuned.updates, tuned.clients, strict=True):
        changed = [not np.array_equal(mine[segment], tuned.values[segment]) for segment in layout.segments]
        assert np.flatnonzero(changed).tolist() == layout.held(update.task.layers, update.task.sent)


def test_averaged_factors_and_heads_are_the_run_s_next_round(tuned: Tuned) -> None:
    replay = tuned.replay
    expected = replay.values(2)
    for place, held in tuned.held.items():
        factors, found = held.aggregated["FedIT"], factors_at(replay, expected, place)
        assert factors.a == pytest.approx(found.a, abs=1e-6)
        assert factors.b == pytest.approx(found.b, abs=1e-6)
    head = replay.layout.segments[-1]
    assert tuned.mean_heads()[head] == pytest.approx(expected[head], abs=1e-6)


def test_room_for_more_factors_does_not_change_a_model(tuned: Tuned, images: torch.Tensor) -> None:
    layers = tuned.replay.method.evaluated_layers
    scores = []
    for room in (1, 3):
        model = Aggregate(tuned.replay, room)
        model.load(tuned.values)
        scores.append(model.logits(images, layers))
    tuned.replay.model.load(tuned.values, [])
    plain = tuned.replay.model.logits(images, layers).detach().numpy()
    assert scores[0] == pytest.approx(plain, abs=1e-5)
    assert scores[1] == pytest.approx(plain, abs=1e-5)


def test_an_adapted_patch_embedding_stays_in_the_model(make_run: Callable[..., str], images: torch.Tensor) -> None:
    def change(config: ExperimentConfig) -> None:
        config.lora.patch_embedding = True

    replay = Replay(read_run(make_run(change)))
    model, layers = Aggregate(replay, 2), replay.method.evaluated_layers
    values, stem = replay.values(2), replay.layout.segments[-1]
    scores = []
    noise = np.random.default_rng(0).standard_normal(stem.stop - stem.start).astype(np.float32)
    for size in (0, 3):
        values[stem] += size * noise
        model.load(values)
        replay.model.load(values, [])
        scores.append(model.logits(images, layers))
        assert scores[-1] == pytest.approx(replay.model.logits(images, layers).detach().numpy(), abs=1e-4)
    assert not np.allclose(*scores, atol=1e-3)


def test_inputs_are_what_lora_layers_see(tuned: Tuned, images: torch.Tensor) -> None:
    layers = tuned.replay.method.evaluated_layers
    model = Aggregate(tuned.replay, 1)
    model.load(tuned.values)
    found = model.inputs(images, layers, 7)
    assert len(found) == 8
    assert found["blocks.0.attn.proj"].shape == (7, 16)
    assert found["blocks.3.mlp.fc2"].shape == (7, 64)
