"""BRICKs: their formula, their distillation, both local stages, and who gets whose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import InProcess, finish, restarted
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig, PartitionConfig, WrapperConfig
from fedra_ray.federation.messages import ClientTask, ClientUpdate, ServerTask
from fedra_ray.federation.state import ServerState
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.brick import Brick
from fedra_ray.methods.fedbrick import BRICKS, FedBrick
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import Batch, SubModel
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.folder import Folder

PROBLEM = Problem(4, (4, 2, 1), num_domains=3)


def configured(config: ExperimentConfig, **options: Any) -> ExperimentConfig:
    config.method = MethodConfig("fedbrick", "fedra_ray.methods.fedbrick.FedBrick", options=options)
    return config


def ready(workers: InProcess, task: ClientTask, planned: int) -> tuple[FedBrick, SubModel, LocalRound]:
    """A client before its first step, from random values: its method, model and round."""
    method = workers.blueprint.method()
    assert isinstance(method, FedBrick)
    model = workers.host._trained
    rng = np.random.default_rng(0)
    values = (0.3 * rng.standard_normal(model.layout.size)).astype(np.float32)
    sets = (0.3 * rng.standard_normal((3, 4, 4 * method.rank * 16))).astype(np.float32)
    local = LocalRound(task, model.layout, values, {BRICKS: sets}, planned=planned)
    model.load(values, local.trained)
    model.train()
    method.begin(model, local)
    return method, model, local


def task_of(client: int, layers: tuple[int, ...]) -> ClientTask:
    return ClientTask(1, client, layers, FedBrick(PROBLEM).named(layers))


def batch() -> Batch:
    rng = np.random.default_rng(1)
    return Batch(torch.tensor(rng.standard_normal((6, 3, 16, 16)), dtype=torch.float32), torch.arange(6) % 3)


def test_a_brick_is_its_formula() -> None:
    brick = Brick(2, 1)
    with torch.no_grad():
        brick.a1.copy_(torch.tensor([[1.0, 0.0]]))
        brick.b1.copy_(torch.tensor([[np.log(3.0)], [0.0]]))
        brick.a2.copy_(torch.tensor([[0.0, 1.0]]))
        brick.b2.copy_(torch.tensor([[0.5], [-1.0]]))
    # A1 x = 1, B1 A1 x = (log 3, 0), whose softmax is (3/4, 1/4); A2 x = 2, B2 A2 x = (1, -2)
    after = brick(torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(after, torch.tensor([[1 * 0.75 + 1 + 1, 2 * 0.25 - 2 + 2]]))


def test_a_set_has_the_size_that_the_source_states() -> None:
    assert sum(parameter.numel() for parameter in Brick(768, 8).parameters()) == 24_576


def test_bricks_fill_the_gaps_of_the_first_stage(config: ExperimentConfig) -> None:
    method, model, local = ready(InProcess(configured(config)), task_of(1, (1, 3)), planned=4)
    given = batch()
    stream = model.embed(given.inputs)
    stream = stream._replace(tokens=model.extras["brick_0"](stream.tokens)).after(model.blocks[1])
    stream = stream._replace(tokens=model.extras["brick_2"](stream.tokens)).after(model.blocks[3])
    scores = model.heads["head"](model.readout(stream.tokens))
    expected = functional.cross_entropy(scores, given.labels)
    torch.testing.assert_close(method.loss(model, given, local), expected)


def test_a_client_has_the_set_of_its_domain(config: ExperimentConfig) -> None:
    _, model, local = ready(InProcess(configured(config)), task_of(4, (1, 3)), planned=4)
    loaded = model.pack(model.layout.held((), [f"brick_{layer}" for layer in range(4)]))
    assert loaded.tobytes() == local.received[BRICKS][4 % 3].tobytes()


@pytest.mark.parametrize(("steps", "share"), [(2, 1.0), (3, 0.5)])
def test_blocks_give_way_to_their_bricks_in_the_second_stage(
    config: ExperimentConfig, steps: int, share: float
) -> None:
    options = {"alignment": 0.5}
    method, model, local = ready(InProcess(configured(config, **options)), task_of(0, (0, 1, 2, 3)), planned=4)
    local.steps = steps
    given = batch()
    stream, distances = model.embed(given.inputs), []
    for layer, block in enumerate(model.blocks):
        brick, own = model.extras[f"brick_{layer}"](stream.tokens), block(stream.tokens)
        distances.append((brick - own).square().mean())
        stream = stream._replace(tokens=share * own + (1 - share) * brick)
    scores = model.heads["head"](model.readout(stream.tokens))
    expected = functional.cross_entropy(scores, given.labels) + 0.5 * sum(distances) / 4
    torch.testing.assert_close(method.loss(model, given, local), expected)


def test_a_client_without_gaps_trains_as_fedra_does_in_the_first_stage(config: ExperimentConfig) -> None:
    method, model, local = ready(InProcess(configured(config)), task_of(0, (0, 1, 2, 3)), planned=4)
    given = batch()
    expected = functional.cross_entropy(model.logits(given.inputs, (0, 1, 2, 3)), given.labels)
    torch.testing.assert_close(method.loss(model, given, local), expected)


def test_the_first_stage_pulls_back_to_what_the_client_got(config: ExperimentConfig) -> None:
    options = {"pull_bricks": 0.5, "pull_adapter": 0.25}
    method, model, local = ready(InProcess(configured(config, **options)), task_of(0, (1,)), planned=4)
    with torch.no_grad():
        for parameter in model.held:
            parameter.add_(2.0)
    method.adjust_gradients(model, local)
    # the gradient of weight * 2^2 by each value: 2 * weight * 2
    means = [float(gradient.mean()) for gradient in model.gradients]
    assert means == pytest.approx([1.0, 1.0, 2.0, 2.0, 2.0, 2.0], rel=1e-5)  # a layer, the head, four BRICKs
    local.steps = 2
    method.adjust_gradients(model, local)
    assert [float(gradient.mean()) for gradient in model.gradients] == means


def test_distillation_brings_bricks_closer_to_blocks_and_leaves_all_else(config: ExperimentConfig) -> None:
    workers = InProcess(configured(config, distill_lr=1e-2))
    method = workers.blueprint.method()
    state = method.init_state(workers.blueprint.layout, 0)
    sent = ServerState(state.values, method.broadcast(state))
    before, short, long = (
        method.take_in(state, [workers.host.compute_one(ServerTask(1, d, 1.0, passes), sent) for d in range(3)])
        for passes in (0, 1, 20)
    )
    assert before.arrays[BRICKS].tobytes() == state.arrays[BRICKS].tobytes()
    errors = [_error(workers, each.arrays[BRICKS]) for each in (before, short, long)]
    assert errors[0] > errors[1] > errors[2]
    assert long.values.tobytes() == state.values.tobytes()
    assert len({own.tobytes() for own in long.arrays[BRICKS]}) == 3  # every domain has its own images


def _error(workers: InProcess, sets: np.ndarray) -> float:
    """The mean squared distance of the first domain's BRICKs from the blocks."""
    model, given = workers.host._trained, batch()
    model.load(workers.blueprint.layout.initial(0), ())
    model.eval()
    total = 0.0
    with torch.no_grad():
        stream = model.embed(given.inputs)
        for layer, block in enumerate(model.blocks):
            brick, start = Brick(16, 8), 0
            for parameter in brick.parameters():
                parameter.copy_(torch.tensor(sets[0, layer, start : start + parameter.numel()]).view_as(parameter))
                start += parameter.numel()
            after = stream.after(block)
            total += float((brick(stream.tokens) - after.tokens).square().mean())
            stream = after
    return total


def test_each_domain_s_set_is_averaged_over_its_clients(config: ExperimentConfig) -> None:
    layout = check_experiment(configured(config))[0].layout
    method = FedBrick(PROBLEM, proxy=0)
    state = method.init_state(layout, 0)
    total = method.reduction(layout)
    for client, value, weight in ((0, 1.0, 1), (3, 4.0, 2), (1, 7.0, 1)):  # clients 0 and 3 are of one domain
        task = ClientTask(1, client, (2,), method.named((2,)), weight=weight, total_weight=4)
        values = np.full(layout.packed_size(layout.held((2,), task.sent)), value, np.float32)
        total.add(ClientUpdate(task, Traffic(0, 0), 1, 1, 0.0, 0.0, values=values))
    merged = method.merge(state, total)
    sets = merged.arrays[BRICKS]
    assert np.unique(sets[0]) == pytest.approx(3.0)  # (1 + 2 * 4) / 3
    assert np.unique(sets[1]) == pytest.approx(7.0)
    assert sets[2].tobytes() == state.arrays[BRICKS][2].tobytes()
    (head,) = layout.held((), ("head",))
    assert merged.values[layout.segments[head]] == pytest.approx(4.0)  # (1 + 2 * 4 + 7) / 4


def test_with_one_stage_only_bricks_of_absent_blocks_are_trained() -> None:
    assert FedBrick(PROBLEM, stages=1).named((1, 2)) == ("head", "brick_0", "brick_3")
    assert FedBrick(PROBLEM).named((1, 2)) == ("head", "brick_0", "brick_1", "brick_2", "brick_3")


def test_without_proxy_images_the_server_computes_nothing() -> None:
    state = ServerState(np.zeros(1, np.float32))
    assert FedBrick(PROBLEM, proxy=0).server_tasks(state, 3) == []
    assert FedBrick(PROBLEM).server_tasks(state, 3) == [ServerTask(3, domain, 0.05, 10) for domain in range(3)]


@pytest.mark.parametrize("options", [{}, {"proxy": 0}, {"stages": 1}], ids=["whole", "without proxy", "one stage"])
def test_any_order_and_a_restart_give_the_same_bits(
    options: dict[str, Any], config: ExperimentConfig, tmp_path: Path
) -> None:
    configured(config, **options)
    config.checkpoint.every = 1
    first = finish(InProcess(config), tmp_path / "first")
    second = finish(InProcess(config, arrival=5), tmp_path / "second")
    resumed = restarted(config, tmp_path / "resumed", failing=5)
    assert first.values.tobytes() == second.values.tobytes() == resumed.values.tobytes()
    saved = [checkpoint.newest(Folder(tmp_path / name)) for name in ("first", "second", "resumed")]
    assert len({each.state.arrays[BRICKS].tobytes() for each in saved if each}) == 1


def test_what_is_distilled_reaches_the_clients(config: ExperimentConfig, tmp_path: Path) -> None:
    with_proxy = finish(InProcess(configured(config)), tmp_path / "with")
    without = finish(InProcess(configured(config, proxy=0)), tmp_path / "without")
    assert with_proxy.values.tobytes() != without.values.tobytes()


@pytest.mark.parametrize(
    "around",
    [
        {"client_optimizer": WrapperConfig("scaffold", target="fedra_ray.methods.scaffold.Scaffold")},
        {"server_optimizer": WrapperConfig("fedadam", target="fedra_ray.methods.fedadam.FedAdam")},
        {"lora_aggregation": WrapperConfig("flexlora", target="fedra_ray.methods.flexlora.FlexLora")},
    ],
    ids=["scaffold", "fedadam", "flexlora"],
)
def test_it_combines_with_what_is_put_around_it(
    around: dict[str, WrapperConfig], config: ExperimentConfig, tmp_path: Path
) -> None:
    configured(config)
    for section, wrapper in around.items():
        setattr(config, section, wrapper)
    first = finish(InProcess(config), tmp_path / "first")
    assert np.isfinite(first.values).all()
    assert first.values.tobytes() == finish(InProcess(config, arrival=5), tmp_path / "second").values.tobytes()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rank", 0),
        ("proxy", 1.5),
        ("proxy", -0.1),
        ("distill_passes", 0),
        ("distill_lr", 0.0),
        ("stages", 3),
        ("pull_bricks", -1),
        ("pull_adapter", float("nan")),
        ("alignment", -0.5),
        ("draw", "best"),
    ],
)
def test_an_option_that_cannot_work_is_refused(option: str, value: object) -> None:
    with pytest.raises(SettingError, match=rf"method\.options\.{option}"):
        FedBrick(PROBLEM, **{option: value})


def test_clients_without_a_domain_are_refused(config: ExperimentConfig) -> None:
    configured(config).partition = PartitionConfig("iid", scheme="iid")
    with pytest.raises(SettingError, match=r"partition\.scheme='?iid'?.*must have a domain"):
        check_experiment(config)


def test_blocks_that_run_frozen_leave_no_gap_and_are_refused(config: ExperimentConfig) -> None:
    configured(config).submodel = WrapperConfig("frozen", target="fedra_ray.methods.frozen_blocks.FrozenBlocks")
    with pytest.raises(SettingError, match=r"submodel.*absent"):
        check_experiment(config)


def test_half_precision_trains_too(config: ExperimentConfig, tmp_path: Path) -> None:
    configured(config).training.precision = "bf16"
    assert np.isfinite(finish(InProcess(config), tmp_path).values).all()
