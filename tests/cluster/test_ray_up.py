"""The files for `ray up`: valid for Ray, pinned, and with a head that runs the server and no client."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.util import prepare_config, validate_config

from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.runtime.placement import SERVER_CPUS

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
CLOUDS = ["aws", "gcp", "azure"]
SCHEMES = {"aws": "s3://", "gcp": "gs://", "azure": "abfss://", "local": "/"}


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    return config


def workers(config: dict[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}


def spot(provider: str, node_config: dict[str, Any]) -> bool:
    if provider == "aws":
        return bool(node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot")
    if provider == "gcp":
        return bool(node_config.get("scheduling", {}).get("provisioningModel") == "SPOT")
    return bool(node_config["azure_arm_parameters"].get("priority") == "Spot")


@pytest.mark.parametrize("name", [*CLOUDS, "local"])
def test_ray_accepts_the_file(name: str) -> None:
    config = load(name)
    assert config["provider"]["type"] == name
    validate_config(prepare_config(config))


def test_ray_refuses_a_misspelt_field() -> None:
    config = load("aws") | {"idle_timeout_minute": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("name", CLOUDS)
def test_head_has_room_for_the_server_and_for_no_client(name: str) -> None:
    config = load(name)
    head = config["available_node_types"][config["head_node_type"]]
    assert head["max_workers"] == 0
    assert "GPU" not in head["resources"]
    assert SERVER_CPUS <= head["resources"]["CPU"] < SERVER_CPUS + RuntimeConfig().num_cpus


def test_head_of_own_hosts_has_room_for_the_server_and_for_no_client() -> None:
    command = load("local")["head_start_ray_commands"][-1].split()
    (cpus,) = (float(word.split("=")[1]) for word in command if word.startswith("--num-cpus="))
    assert SERVER_CPUS <= cpus < SERVER_CPUS + RuntimeConfig().num_cpus
    assert "--num-gpus=0" in command


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_say_what_they_have_and_the_groups_fit_the_whole(name: str) -> None:
    config = load(name)
    groups = workers(config)
    assert {"gpu.small", "gpu.large", "cpu"} == set(groups)
    for tier, kind in groups.items():
        assert kind["resources"]["CPU"] >= RuntimeConfig().num_cpus
        assert ("GPU" in kind["resources"]) == tier.startswith("gpu")
        assert kind["labels"] == {"tier": tier}
        validate_node_label_syntax(kind["labels"])
        assert 0 <= kind["min_workers"] <= kind["max_workers"] <= config["max_workers"]
    assert groups["gpu.small"]["resources"]["GPU"] < groups["gpu.large"]["resources"]["GPU"]
    least, most = (sum(kind[bound] for kind in groups.values()) for bound in ("min_workers", "max_workers"))
    assert least < config["max_workers"] <= most
    assert config["idle_timeout_minutes"] > 0


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_are_spot_machines_and_the_head_is_not(name: str) -> None:
    config = load(name)
    assert all(spot(name, kind["node_config"]) for kind in workers(config).values())
    assert not spot(name, config["available_node_types"][config["head_node_type"]]["node_config"])


@pytest.mark.parametrize("name", [*CLOUDS, "local"])
def test_results_go_where_the_provider_keeps_them(name: str) -> None:
    assert load(name)["metadata"]["results"].startswith(SCHEMES[name])


@pytest.mark.parametrize("name", [*CLOUDS, "local"])
def test_every_node_authenticates_by_the_submitters_token(name: str) -> None:
    config = load(name)
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("name", [*CLOUDS, "local"])
def test_nothing_installs_another_ray_than_the_images(name: str) -> None:
    prepared = prepare_config(load(name))
    commands = [*prepared["setup_commands"], *prepared["head_setup_commands"], *prepared["worker_setup_commands"]]
    assert [command for command in commands if "ray-wheels" in command or "ray[" in command] == []
