"""The faults, each with what does the harm and what the expected outcome is."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from ray._private import utils as memory

from analysis.chaos.disturbed import Disturbed, actors, kill_node, wait_for

_GIGABYTE = 2**30


@dataclass(frozen=True)
class Fault:
    """One way to harm a run.

    Attributes:
        harm: Does the harm, once the run has started.
        outcome: The expected outcome, in words.
        how: Fault of `fedra_ray.testing.faulty` that one client meets; none if the harm comes from outside.
        always: Whether the client meets it on every attempt, and is dropped.
        nodes: Worker nodes of a cluster beside the head; 0 for a run with a private Ray.
        ends: Whether the harm ends the run, which the same command then resumes.
        environment: Makes further environment variables.
        overrides: Further settings.
    """

    harm: Callable[[Disturbed], None]
    outcome: str
    how: str = "none"
    always: bool = False
    nodes: int = 0
    ends: bool = False
    environment: Callable[[], dict[str, str]] = dict
    overrides: list[str] = field(default_factory=list)


def kill(title: str) -> Callable[[Disturbed], None]:
    """Kill the first actor that is in a method, after the first round."""

    def harm(run: Disturbed) -> None:
        run.reach(1)
        wait_for(title).kill()

    return harm


def interrupt(number: signal.Signals) -> Callable[[Disturbed], None]:
    """Send the driver a signal after the second round."""

    def harm(run: Disturbed) -> None:
        run.reach(2)
        run.interrupt(number)

    return harm


def nothing(run: Disturbed) -> None:
    """Do no harm from outside: the fault comes from within the run."""


def damage_the_newest_checkpoint(run: Disturbed) -> None:
    """Kill the driver, and cut the newest checkpoint short."""
    interrupt(signal.SIGKILL)(run)
    run.process.wait()
    newest = max(Path(run.run_dir).glob("checkpoints/*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])


def lose_a_node(run: Disturbed) -> None:
    """Kill a node while a client trains there; the other one remains."""
    run.reach(1)
    kill_node(wait_for("ClientSlot.train"))


def replace_all_nodes(run: Disturbed) -> None:
    """Kill every worker node, and add one after a while."""
    run.reach(1)
    kill_node(wait_for("ClientSlot.train"))
    time.sleep(2)
    assert run.cluster is not None
    run.cluster.add_node(num_cpus=1)


def lose_a_result(run: Disturbed) -> None:
    """Kill a node that holds a result which the server has not fetched yet."""
    run.reach(1)
    client = wait_for("ClientSlot.train")
    server = wait_for("Server")
    server.suspend()
    try:
        wait_for("ClientSlot", lambda actor: actor.pid == client.pid and ".train" not in actor.cmdline()[0])
        kill_node(client)
        time.sleep(2)  # until the cluster has noticed
    finally:
        server.resume()


def scarce_memory() -> dict[str, str]:
    """Let Ray's monitor see a machine with a few free gigabytes, enough for a run and not for one that eats."""
    limit = (memory.get_used_memory() + 5 * _GIGABYTE) / psutil.virtual_memory().total
    return {"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "100"}


AGAIN = "trained again"
FAULTS = {
    "client actor killed in training": Fault(kill("ClientSlot.train"), AGAIN),
    "client actor killed in evaluation": Fault(kill("ClientSlot.evaluate"), "evaluated again"),
    "client raises": Fault(nothing, AGAIN, how="raise"),
    "client hangs": Fault(nothing, AGAIN, how="hang", overrides=["runtime.task_timeout=25"]),
    "client finds no memory": Fault(nothing, AGAIN, how="memory"),
    "client killed for memory": Fault(nothing, AGAIN, how="eat", environment=scarce_memory),
    "client kills every actor": Fault(nothing, "dropped, named", how="kill", always=True),
    "server actor killed": Fault(kill("Server"), "started again"),
    "driver killed": Fault(interrupt(signal.SIGKILL), "resumed", ends=True),
    "driver terminated": Fault(interrupt(signal.SIGTERM), "saved, resumed", ends=True),
    "driver interrupted": Fault(interrupt(signal.SIGINT), "saved, resumed", ends=True),
    "newest checkpoint damaged": Fault(damage_the_newest_checkpoint, "resumed from the one before", ends=True),
    "node lost": Fault(lose_a_node, "trained on another", nodes=2),
    "all nodes lost, one new": Fault(replace_all_nodes, "trained on the new one", nodes=1),
    "result lost with its node": Fault(lose_a_result, AGAIN, nodes=2),
}


def random_harm(choice: float) -> str:
    """Kill the actor that a number in [0, 1) selects, mostly a client actor, at times the server; returns its title."""
    candidates = actors("ClientSlot" if choice < 0.8 else "Server")
    if not candidates:
        return "nothing"
    victim = candidates[int(choice * 1000) % len(candidates)]
    title = victim.cmdline()[0].removeprefix("ray::")
    victim.kill()
    return title
