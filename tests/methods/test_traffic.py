"""What clients send and receive, by how the server treats LoRA factors."""

from typing import Any

import pytest
from support import shipped_method

from fedra_ray import compose
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.create import create_method
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.preflight import adapt

#: What a layer sends and receives, in values of A, of B and of the adapted weights.
EXPECTED = {
    "fedit": ((1, 1, 0), (1, 1, 0)),
    "flexlora": ((1, 1, 0), (1, 1, 0)),
    "ffalora": ((0, 1, 0), (0, 1, 0)),
    "rolora": ((0, 1, 0), (1, 1, 0)),
    "fedsalora": ((1, 0, 0), (1, 1, 0)),
    "flora": ((1, 1, 0), (1, 1, 1)),
    "fedexlora": ((1, 1, 0), (1, 1, 1)),
}


def traffic_of(config: ExperimentConfig, layers: list[int], number: int = 1) -> tuple[Traffic, list[int]]:
    """Traffic of a client, and the values of A, of B and of the adapted weights of one layer, and of the head."""
    backbone: Any = build(config.backbone)
    targets = find_targets(backbone, None)
    weights = [backbone.blocks[0].get_submodule(target).weight for target in targets]
    a, b, dense = (
        sum(config.lora.rank * weight.shape[1] for weight in weights),
        sum(config.lora.rank * weight.shape[0] for weight in weights),
        sum(weight.numel() for weight in weights),
    )
    head = 3 * (backbone.num_features + 1)
    method = create_method(config, len(backbone.blocks), Fleet(config, ("dark", "light")))
    model = adapt(backbone, targets, config, method, 3)
    return method.traffic(model.layout, layers, method.named(layers), number), [a, b, dense, head]


@pytest.mark.parametrize("aggregation", EXPECTED)
def test_only_what_the_aggregation_needs_travels(aggregation: str, vit_config: BackboneConfig) -> None:
    config = compose(f"lora_aggregation={aggregation}", "fleet.depths=[4,2]", "fleet.num_clients=2")
    config.backbone = vit_config
    found, (*sizes, head) = traffic_of(config, [0, 3])
    named = 2 * sizes[2] if EXPECTED[aggregation][1][2] else 0  # of both blocks that it runs
    for way, own in zip(found, EXPECTED[aggregation], strict=True):
        factors = sum(share * size for share, size in zip(own[:2], sizes[:2], strict=True))
        assert way == 4 * (head + 2 * factors + (named if own[2] else 0))


def test_rolora_sends_a_in_even_rounds(vit_config: BackboneConfig) -> None:
    config = compose("lora_aggregation=rolora", "fleet.depths=[4,2]", "fleet.num_clients=2")
    config.backbone = vit_config
    (up, _), (a, b, _, head) = traffic_of(config, [1], number=2)
    assert up == 4 * (head + a)
    assert traffic_of(config, [1], number=3)[0].up == 4 * (head + b)


def test_clients_of_fewer_ranks_send_and_receive_fewer(vit_config: BackboneConfig) -> None:
    config = compose("fleet.depths=[4,2]", "fleet.num_clients=2", "lora.rank=4", "lora.ranks={2: 1}")
    config.backbone = vit_config
    found, (a, b, _, head) = traffic_of(config, [0, 2])
    assert found == Traffic(4 * (head + 2 * (a + b) // 4), 4 * (head + 2 * (a + b) // 4))


def test_a_stand_in_travels_with_its_client(vit_config: BackboneConfig) -> None:
    config = compose("fleet.depths=[4,2]", "fleet.num_clients=2")
    config.backbone = vit_config
    plain, (a, b, _, head) = traffic_of(config, [0, 2])
    assert plain.up == 4 * (head + 2 * (a + b))
    config.method = shipped_method("fedbrick")
    width = head // 3 - 1
    assert traffic_of(config, [0, 2])[0].up == plain.up + 4 * 4 * (4 * 8 * width)
