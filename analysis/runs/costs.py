"""What the sub-models of a run cost its clients (`fedra_ray.cost.law`)."""

from analysis.runs.reading import Run
from fedra_ray.cost.law import MEGABYTE, CostModel
from fedra_ray.cost.measure import cost_model
from fedra_ray.cost.workload import describe
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.steps import images_seen
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import build

_MEASURED: dict[str, CostModel] = {}  # by the settings that matter: a table may have a hundred runs of one model


def cost_of(run: Run) -> CostModel:
    """The costs of the run's model, measured once for all runs of it."""
    config = run.config
    key = repr((config.backbone, config.lora, config.training, config.method, run.num_classes))
    if key not in _MEASURED:
        backbone = build(config.backbone)
        backbone = backbone.bfloat16() if config.training.precision == "bf16" else backbone
        _MEASURED[key] = cost_model(backbone, config, run.num_classes, method_of(run))
    return _MEASURED[key]


def method_of(run: Run) -> Method:
    """The run's method."""
    return create_method(run.config, run.num_layers, Fleet(run.config, tuple(run.domains)))


def regime_and_memory(run: Run) -> tuple[str, float]:
    """How the run's clients hold the blocks that they do not train, and the memory that one needs at most.

    Returns:
        `absent`: not at all; `frozen`: all the time; `streamed`: one at a time; `recomputed`: that, and those that they
        train too. And the peak of the training of the client that needs most, in megabytes (10^6 bytes), with a full
        batch.

    Raises:
        SettingError: if the run has no adapter or no records.
    """
    cost = cost_of(run)
    method = method_of(run)
    training, batch_size = run.config.training, run.config.training.batch_size
    peak, passes, streams = 0, False, method.streams
    clients = run.table("clients")
    for layers, depth in {
        (tuple(layers), depth) for layers, depth in zip(clients["layers"], clients["depth"], strict=True)
    }:
        work = describe(method, layers, batch_size, None, training, depth)
        peak = max(peak, cost.memory(work.layers, batch_size, work.heads, work.passed))
        streams |= work.passed.partial > 0
        passes |= work.passed.before + work.passed.behind + work.passed.partial > 0
    if method.recomputes:
        return "recomputed", peak / MEGABYTE
    kind = "absent" if not passes else "streamed" if streams else "frozen"
    return kind, peak / MEGABYTE


def mean_flops(run: Run) -> float:
    """FLOPs of a client's local training in a round, on average over clients and rounds.

    Raises:
        SettingError: if the run has no adapter or no records.
    """
    cost, method, training = cost_of(run), method_of(run), run.config.training
    clients = run.table("clients")
    of_image: dict[tuple[tuple[int, ...], int], int] = {}
    total = 0
    columns = (clients[name] for name in ("layers", "depth", "examples", "steps"))
    for layers, depth, examples, steps in zip(*columns, strict=True):
        kind = tuple(layers), int(depth)
        if kind not in of_image:
            work = describe(method, kind[0], training.batch_size, None, training, depth)
            of_image[kind] = cost.step_flops(work.layers, work.heads, work.passed)
        total += images_seen(int(examples), int(steps), training) * of_image[kind]
    return total / len(clients)
