"""Simulated devices: what a client's round would take on a phone or a workstation, from a profile of its speed.

The times are those of a client that has the frozen backbone already: it receives its part of the adapter, trains, and
sends that part back, one after another. The server's own work takes no simulated time.
"""

from dataclasses import replace
from functools import cache

import yaml

from fedra_ray.config.errors import SettingError
from fedra_ray.config.fleet import DeviceConfig, FleetConfig
from fedra_ray.config.paths import conf_dir


@cache
def shipped() -> dict[str, DeviceConfig]:
    """The profiles of conf/devices.yaml, by name."""
    content = yaml.safe_load((conf_dir() / "devices.yaml").read_text(encoding="utf-8"))
    return {name: DeviceConfig(**numbers) for name, numbers in content.items()}


def profiles(fleet: FleetConfig) -> dict[str, DeviceConfig]:
    """Every profile that `fleet.devices` may name: the shipped ones, and the fleet's own, which take precedence."""
    return shipped() | fleet.profiles


def with_profiles(fleet: FleetConfig) -> FleetConfig:
    """The fleet with the profiles of exactly its devices, so that a run's configuration states their numbers."""
    if fleet.devices is None:
        return fleet
    known = profiles(fleet)
    return replace(fleet, profiles={name: known[name] for name in sorted(set(fleet.devices))})


def check_devices(fleet: FleetConfig) -> None:
    """Refuse devices without a profile.

    Raises:
        SettingError: for the first one.
    """
    if fleet.devices is None:
        return
    known = sorted(profiles(fleet))
    if not fleet.devices or not set(fleet.devices) <= set(known):
        allowed = f"must name at least one device, each one of {', '.join(known)}; fleet.profiles adds others"
        raise SettingError("fleet.devices", fleet.devices, allowed)
