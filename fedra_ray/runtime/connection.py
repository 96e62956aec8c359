"""Connecting to Ray: a private local instance, or the cluster that an address names."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.runtime.environment import declare
from fedra_ray.runtime.placement import SERVER_CPUS, Node

_PROBE_SECONDS = 10.0


@contextmanager
def connected(runtime: RuntimeConfig, slots: int) -> Iterator[None]:
    """Connect to the configured cluster, and disconnect at the end; a connection that exists already is used and kept.

    A local instance declares enough CPUs for all the actors that the configuration asks for: with more actors than
    cores each is slower, but none must wait for another to end.

    Args:
        runtime: Address of the cluster, and what an actor reserves.
        slots: How many client actors the configuration asks for; 0 to use the resources that there are.

    Raises:
        SettingError: if no cluster answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    _connect(runtime, slots)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(runtime: RuntimeConfig, slots: int) -> None:
    address = declare(runtime.address)
    if address == "local":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cpus = max(cores, int(slots * runtime.num_cpus)) + 1  # one more, because the server reserves a part of one
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR)
        return
    try:
        _probe(address)
        ray.init(address=address, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        allowed = f"no Ray cluster answers there ({reason}); use local, auto, or host:port"
        raise SettingError("runtime.address", address, allowed) from error


def _probe(address: str) -> None:
    """Find out within seconds whether anything listens at host:port; Ray itself keeps trying for minutes.

    Raises:
        OSError: if nothing does.
        ValueError: if the port is not a number.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()


def nodes() -> list[Node]:
    """What the cluster's living nodes offer to client actors; the server's share is taken off this process's node."""
    here = ray.get_runtime_context().get_node_id()
    alive = []
    for node in ray.nodes():
        if node["Alive"]:
            cpus = node["Resources"].get("CPU", 0.0) - (SERVER_CPUS if node["NodeID"] == here else 0.0)
            alive.append(Node(cpus, node["Resources"].get("GPU", 0.0), node["Labels"].get("tier")))
    return alive
