import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, FleetConfig, MethodConfig
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.methods.alllarge import AllLarge
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import create_method

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
    method = MethodConfig(name, f"fedra_ray.methods.{name}.{METHODS[name]}", options)
    return ExperimentConfig(method=method, fleet=FleetConfig(depths=[4, 2, 1], num_clients=3))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_from_its_name_and_options(name: str) -> None:
    method = create_method(configured(name), 4)
    assert type(method).__name__ == METHODS[name]
    assert (method.num_layers, method.depths) == (4, [4, 2, 1])


@pytest.mark.parametrize("name", METHODS)
def test_no_allocation_exceeds_a_depth_but_alllarge(name: str) -> None:
    method = create_method(configured(name), 4)
    depths = [depth for depth in (4, 2, 1) if method.eligible(depth)]
    held = method.allocate(depths, np.random.default_rng(0)).sum(axis=1)
    assert ((held <= depths) | (name == "alllarge")).all()


def test_default_merge_is_the_mean_over_every_holder_of_every_group() -> None:
    segments = [slice(0, 1), slice(1, 2)]
    first, second = MaskedSum(segments), MaskedSum(segments)
    first.add([0], np.array([2], dtype=np.float32))
    second.add([0], np.array([4], dtype=np.float32))
    merged = AllLarge(1, [1]).merge(np.array([7, 8], dtype=np.float32), {0: first, 1: second})
    assert merged.tolist() == [3, 8]
    assert first.mean(np.zeros(2, np.float32)).tolist() == [2, 0]  # the groups are left as they were


def test_options_reach_the_method() -> None:
    assert create_method(configured("depthfl", prediction="last"), 4).prediction == "last"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SettingError, match="FedRA has no such option") as refusal:
        create_method(configured("fedra", speed=1), 4)
    assert refusal.value.args[:2] == ("method.options.speed", 1)


def test_a_depth_beyond_the_model_is_refused() -> None:
    with pytest.raises(SettingError, match="every depth must be at most 3") as refusal:
        create_method(configured("fedra"), 3)
    assert refusal.value.args[:2] == ("fleet.depths", [4, 2, 1])


def test_the_draw_reaches_fedra() -> None:
    config = configured("fedra")
    config.allocation.draw = "balanced"
    method = create_method(config, 4)
    assert isinstance(method, FedRA)
    assert method.draw == "balanced"


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"fedra"}))
def test_a_draw_is_refused_by_methods_that_do_not_draw(name: str) -> None:
    config = configured(name)
    config.allocation.draw = "balanced"
    with pytest.raises(SettingError, match=METHODS[name]) as refusal:
        create_method(config, 4)
    assert refusal.value.args[:2] == ("allocation.draw", "balanced")


def test_depths_that_no_client_has_do_not_count() -> None:
    config = configured("exclusive")
    config.fleet.depths, config.fleet.num_clients = [2, 1, 4], 2
    with pytest.raises(SettingError, match="can hold all 4 layers"):
        create_method(config, 4)
