"""Connecting to Ray: a private local instance, or the cluster that an address names."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # made in Cython
from ray.exceptions import AuthenticationError

from fedra_ray.config.errors import RunFailedError, SettingError, error_text
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.runtime.environment import declare, resolve
from fedra_ray.runtime.interruption import deserted
from fedra_ray.runtime.placement import SERVER_CPUS, Node, SlotSpec

_PROBE_SECONDS = 10.0
_GREETING_SECONDS = 15.0
_ANSWER_SECONDS = 2.0
_STARTS = 3  # of a private instance, before it is given up


@contextmanager
def connected(runtime: RuntimeConfig, slots: int) -> Iterator[bool]:
    """Connect to the configured cluster, and disconnect at the end; a connection that exists already is used and kept.

    A cluster that does not answer at the end is left without a goodbye, which would wait for it: `deserted` is set.

    A local instance declares enough CPUs for all the actors that the configuration asks for: with more actors than
    cores each is slower, but none must wait for another to end.

    Args:
        runtime: Address of the cluster, and what an actor reserves.
        slots: How many client actors the configuration asks for; 0 to use the resources that there are.

    Yields:
        Whether it is a private instance of this process, which never grows.

    Raises:
        SettingError: if no cluster answers at the address, or a private instance cannot have what is asked for.
        RunFailedError: if a private instance does not start.
    """
    if ray.is_initialized() and not deserted.is_set():
        yield False
        return
    if deserted.is_set():
        ray.shutdown()
        deserted.clear()
    _connect(runtime, slots)
    try:
        yield resolve(runtime.address)[0] == "local"
    finally:
        if ray.is_initialized() and not answers():
            deserted.set()  # a goodbye would wait for it
        else:
            ray.shutdown()


def _connect(runtime: RuntimeConfig, slots: int) -> None:
    declare(runtime.address)
    address, source = resolve(runtime.address)
    if address == "local":
        _start(runtime, slots)
        return
    try:
        _probe(address)
        ray.init(address=address, logging_level=logging.ERROR)
    except SettingError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        allowed = f"no Ray cluster answers there ({error_text(error)}); use local, auto, or host:port"
        raise SettingError(source, address, allowed) from error


def _start(runtime: RuntimeConfig, slots: int) -> None:
    """Start a private instance; on a busy machine Ray may not manage that within the half minute that it allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not slots and runtime.num_cpus > cores:
        allowed = f"this machine has {cores} CPUs; ask for at most so many, or set runtime.max_actors to share them"
        raise SettingError("runtime.num_cpus", runtime.num_cpus, allowed)
    if runtime.tier_labels:
        allowed = "nodes of a private instance have no labels; name a cluster by runtime.address"
        raise SettingError("runtime.tier_labels", runtime.tier_labels, allowed)
    cpus = max(cores, int(slots * runtime.num_cpus)) + 1  # one more, because the server reserves a part of one
    for attempt in range(_STARTS):
        try:
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray raises plain ones
            ray.shutdown()
            if attempt == _STARTS - 1:
                raise RunFailedError(f"Ray did not start on this machine: {error_text(error)}") from error


def refuse_excess(specs: list[SlotSpec], runtime: RuntimeConfig) -> None:
    """Refuse GPUs that a private instance has not got, or that PyTorch cannot use there: it never grows.

    Raises:
        SettingError: with what is asked for and what there is.
    """
    import torch  # here, because the server uses this module too and must start without it

    asked = sum(spec.num_gpus for spec in specs)
    there = sum(node.gpus for node in nodes())
    if asked > there + 1e-9:
        allowed = f"{len(specs)} client actors need {asked:g} GPUs, and this machine has {there:g}"
        raise SettingError("runtime.num_gpus", runtime.num_gpus, allowed)
    if asked and not torch.cuda.is_available():
        allowed = (
            f"this machine has {there:g} GPUs, of which this PyTorch can use none; set 0, or install one with CUDA"
        )
        raise SettingError("runtime.num_gpus", runtime.num_gpus, allowed)


def _probe(address: str) -> None:
    """Find out within seconds whether a cluster answers; Ray itself keeps trying for minutes, deaf to signals.

    Raises:
        OSError: if none does.
        ValueError: if the port is not a number, or the address is that of a dashboard.
    """
    if address.startswith(("http://", "https://")):
        raise ValueError("it is that of a dashboard, for fedra-ray submit --address")
    if address == "auto":
        address = canonicalize_bootstrap_address_or_die(address)  # perhaps of a cluster that was killed
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
        if not address.startswith("ray://"):
            _greet(address)


def _greet(address: str) -> None:
    """Find out whether what listens at host:port is Ray, in a thread: Ray's call has no bound, and cannot be left."""
    refusals: list[AuthenticationError] = []
    thread = threading.Thread(target=_ask, args=(address, refusals), daemon=True)
    thread.start()
    thread.join(_GREETING_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"what listens there does not answer within {_GREETING_SECONDS:g} s as Ray does")
    if refusals:
        allowed = "this cluster asks for its token: set token, and have it in ~/.ray/auth_token or RAY_AUTH_TOKEN"
        raise SettingError("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE", ""), allowed)


def _ask(address: str, refusals: list[AuthenticationError]) -> None:
    try:
        GcsClient(address=address)
    except AuthenticationError as refusal:
        refusals.append(refusal)
    except Exception:  # Ray's own connection says it again
        return


def answers() -> bool:
    """Whether the cluster can still be reached: one of Ray's own calls would wait for it, deaf to signals."""
    if ray.util.client.ray.is_connected():
        return True  # the address of a cluster behind ray:// is not known here
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def capacity() -> str:
    """What there is in the cluster, and what of it is free, in words."""
    total, free = ray.cluster_resources(), ray.available_resources()
    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    parts = []
    for kind in ("CPU", "GPU"):
        most = max((offer.get(kind, 0.0) for offer in offers), default=0.0)
        parts.append(f"{total.get(kind, 0.0):g} {kind}s ({free.get(kind, 0.0):g} free, at most {most:g} on a node)")
    return f"Ray has {' and '.join(parts)}"


def nodes() -> list[Node]:
    """What the cluster's living nodes offer to client actors; the server's share is taken off this process's node."""
    here = ray.get_runtime_context().get_node_id()
    alive = []
    for node in ray.nodes():
        if node["Alive"]:
            cpus = node["Resources"].get("CPU", 0.0) - (SERVER_CPUS if node["NodeID"] == here else 0.0)
            alive.append(Node(cpus, node["Resources"].get("GPU", 0.0), node["Labels"].get("tier")))
    return alive
