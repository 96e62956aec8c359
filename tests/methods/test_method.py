import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, FleetConfig, MethodConfig
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.alllarge import AllLarge
from fedra_ray.methods.create import create_method
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Method, Problem

METHODS = {
    "alllarge": "AllLarge",
    "allsmall": "AllSmall",
    "depthfl": "DepthFL",
    "exclusive": "Exclusive",
    "fedra": "FedRA",
    "headonly": "HeadOnly",
    "inclusivefl": "InclusiveFL",
}


def configured(name: str, **options: object) -> ExperimentConfig:
    method = MethodConfig(name, target=f"fedra_ray.methods.{name}.{METHODS[name]}", options=options)
    return ExperimentConfig(method=method, fleet=FleetConfig(depths=[4, 2, 1], num_clients=3))


def created(config: ExperimentConfig, num_layers: int) -> Method:
    return create_method(config, num_layers, Fleet(config, ("x",)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_from_its_name_and_options(name: str) -> None:
    method = created(configured(name), 4)
    assert type(method).__name__ == METHODS[name]
    assert (method.num_layers, method.depths) == (4, (4, 2, 1))


@pytest.mark.parametrize("name", METHODS)
def test_no_allocation_exceeds_a_depth_but_alllarge(name: str) -> None:
    method = created(configured(name), 4)
    depths = [depth for depth in (4, 2, 1) if method.eligible(depth)]
    held = method.allocate(depths, np.random.default_rng(0)).sum(axis=1)
    assert ((held <= depths) | (name == "alllarge")).all()


def test_default_merge_is_the_mean_over_every_holder_of_every_group() -> None:
    segments = [slice(0, 1), slice(1, 2)]
    first, second = MaskedSum(segments), MaskedSum(segments)
    first.add([0], np.array([2], dtype=np.float32))
    second.add([0], np.array([4], dtype=np.float32))
    total = MaskedSums(Layout(((Entry("a", (1,)),),), ((Entry("head", (1,)),),), ("head",)))
    total.groups = {0: first, 1: second}
    state = ServerState(np.array([7, 8], dtype=np.float32), {"own": np.ones(3)})
    merged = AllLarge(Problem(1, (1,))).merge(state, total)
    assert merged.values.tolist() == [3, 8]
    assert merged.arrays["own"].tolist() == [1, 1, 1]
    assert first.mean(np.zeros(2, np.float32)).tolist() == [2, 0]  # the groups are left as they were


def test_options_reach_the_method() -> None:
    assert created(configured("depthfl", prediction="last"), 4).prediction == "last"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SettingError, match="FedRA has no such option") as refusal:
        created(configured("fedra", speed=1), 4)
    assert refusal.value.args[:2] == ("method.options.speed", 1)


def test_a_depth_beyond_the_model_is_refused() -> None:
    with pytest.raises(SettingError, match="every depth must be at most 3") as refusal:
        created(configured("fedra"), 3)
    assert refusal.value.args[:2] == ("fleet.depths", [4, 2, 1])


def test_the_draw_reaches_fedra() -> None:
    config = configured("fedra")
    config.method.options["draw"] = "balanced"
    method = created(config, 4)
    assert isinstance(method, FedRA)
    assert method.draw == "balanced"


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"fedra"}))
def test_a_draw_is_refused_by_methods_that_do_not_draw(name: str) -> None:
    config = configured(name)
    config.method.options["draw"] = "balanced"
    with pytest.raises(SettingError, match=METHODS[name]) as refusal:
        created(config, 4)
    assert refusal.value.args[:2] == ("method.options.draw", "balanced")


def test_depths_that_no_client_has_do_not_count() -> None:
    config = configured("exclusive")
    config.fleet.depths, config.fleet.num_clients = [2, 1, 4], 2
    with pytest.raises(SettingError, match="can hold all 4 layers"):
        created(config, 4)
