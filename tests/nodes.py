"""A Ray cluster of several node processes on the loopback address, started as a person starts it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from support import free_port, listening

RAY = str(Path(sys.executable).with_name("ray"))


class LocalCluster:
    """A head whose one CPU goes to the driver's server actor, and nodes with room for one client actor each.

    Args:
        folder: For logs.
        autoscaling: What an autoscaler on the head goes by; None for none.

    Attributes:
        address: Of the head, for runtime.address.
        dashboard: URL of the job API.
        metrics_ports: Of the head and every node, where Prometheus would scrape.
        environment: Variables that clients of the cluster need.
    """

    def __init__(self, folder: Path, autoscaling: dict[str, Any] | None = None) -> None:
        self.environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        self.environment.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)  # for private instances alone
        self.environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        self.environment["PATH"] = f"{Path(RAY).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["RAY_JOB_STOP_WAIT_TIME_S"] = "30"
        self.environment["RAY_metrics_report_interval_ms"] = "500"
        self._folder = folder
        self._temporary: list[str] = []
        self.metrics_ports: list[int] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        port, dashboard = free_port(), free_port()
        self.address, self.dashboard = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        ports = (f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}")
        if autoscaling is not None:
            autoscaling = {**autoscaling, "provider": {**autoscaling["provider"], "gcs_address": self.address}}
            (folder / "cluster.json").write_text(json.dumps(autoscaling))
            ports = (*ports, f"--autoscaling-config={folder / 'cluster.json'}")
        head = ("--head", "--num-cpus=1", "--include-dashboard=true", *ports)
        try:
            self._start(lambda: listening(dashboard) and self.alive() > 0, *head)
        except BaseException:
            self.stop()
            raise

    def add_node(self) -> "subprocess.Popen[bytes]":
        """Start a node with one CPU, and wait for it."""
        others = self.alive()
        return self._start(lambda: self.alive() > others, f"--address={self.address}", "--num-cpus=1")

    def _start(self, is_up: Callable[[], bool], *options: str) -> "subprocess.Popen[bytes]":
        """Try until the node is up: Ray gives it half a minute, which is little on a busy machine."""
        process = self._launch(*options)
        while not is_up():
            if process.poll() is not None:
                process = self._launch(*options)
            time.sleep(0.2)
        return process

    def _launch(self, *options: str) -> "subprocess.Popen[bytes]":
        self.metrics_ports.append(free_port())
        ports = [f"--dashboard-agent-grpc-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        ports.append(f"--metrics-export-port={self.metrics_ports[-1]}")
        # nodes of one machine would unpack a job's files over each other's
        self._temporary.append(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a short path, for sockets
        ports.append(f"--temp-dir={self._temporary[-1]}")
        command = [RAY, "start", "--block", "--node-ip-address=127.0.0.1", *options, *ports]
        log = (self._folder / f"node-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.processes.append(process)
        return process

    def alive(self) -> int:
        """How many nodes there are, the head among them."""
        nodes = GcsClient(address=self.address).get_all_node_info()
        return sum(node.state == GcsNodeInfo.ALIVE for node in nodes.values())

    def samples(self) -> dict[str, float]:
        """Everything that a scrape of all nodes finds about runs: `name{labels}` and its value."""
        values = {}
        for port in self.metrics_ports:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("ray_fedra_"):
                        name, _, value = line.rpartition(" ")
                        values[name] = float(value)
        return values

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a node at once, with everything that it has started."""
        for member in _family(process):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()

    def stop(self) -> None:
        """End all nodes, those of an autoscaler too."""
        family = [member for process in self.processes if process.poll() is None for member in _family(process)]
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=10)
        for member in left:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        for process in self.processes:
            process.wait()
        for name in self._temporary:
            shutil.rmtree(name, ignore_errors=True)


def _family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]
