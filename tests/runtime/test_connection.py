"""A private Ray instance is private."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import ray
from support import running

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.runtime import connection
from fedra_ray.runtime.connection import connected, refuse_excess
from fedra_ray.runtime.environment import declare, resolve
from fedra_ray.runtime.placement import SlotSpec

pytestmark = pytest.mark.usefixtures("local_ray")


@ray.remote
def process() -> int:
    return os.getpid()


def test_a_local_instance_listens_on_the_loopback_address_alone() -> None:
    worker = psutil.Process(ray.get(process.remote()))
    raylet = worker.parent()
    assert raylet is not None
    family = {raylet, *raylet.children(recursive=True), *psutil.Process().children(recursive=True)}
    names = {member.name() for member in family}
    assert {"raylet", "gcs_server"} <= names
    listening = {
        connection.laddr.ip
        for member in family
        for connection in member.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_local_instance_asks_for_a_token() -> None:
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert declare(None) == "local"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize("address", ["auto", "192.0.2.1:6379", None])
def test_a_cluster_is_not_told_that_it_is_private(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert declare(address) == "192.0.2.1:6379"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.parametrize(
    ("address", "variable", "expected"),
    [
        (None, "", ("local", "runtime.address")),
        (None, "local", ("local", "RAY_ADDRESS")),
        ("auto", "10.0.0.1:6379", ("10.0.0.1:6379", "RAY_ADDRESS")),
        ("local", "10.0.0.1:6379", ("local", "runtime.address")),
    ],
)
def test_the_variable_stands_in_for_an_address_that_is_not_given(
    address: str | None, variable: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", variable)
    assert resolve(address) == expected


class Absent:
    """Stands in for a Ray that is not connected, and never starts."""

    starts = 0

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: object) -> None:
        self.starts += 1
        raise Exception("The current node timed out during startup.")

    def shutdown(self) -> None:
        pass


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Absent:
    monkeypatch.setattr(connection, "ray", Absent())
    return connection.ray  # type: ignore[return-value]


@pytest.mark.parametrize("variable", ["127.0.0.1:1", "ray://127.0.0.1:1", "http://127.0.0.1:8265"])
def test_a_cluster_that_is_gone_is_refused_by_the_name_of_the_variable(
    variable: str, absent: Absent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(SettingError, match="no Ray cluster answers there") as refusal, connected(RuntimeConfig(), 0):
        pass
    assert refusal.value.args[:2] == ("RAY_ADDRESS", variable)
    assert absent.starts == 0


LISTENS = """
import sys
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.runtime import connection

connection._GREETING_SECONDS = float(sys.argv[2])

def connect() -> None:
    print("connects", flush=True)
    with connection.connected(RuntimeConfig(sys.argv[1]), 0):
        pass

sys.exit(exit_code(connect))
"""


@pytest.mark.parametrize(("patience", "number", "code"), [(2, None, 2), (60, signal.SIGINT, 130)])
def test_a_listener_that_is_not_ray_is_refused_in_time_and_waiting_for_it_can_be_interrupted(
    patience: int, number: signal.Signals | None, code: int
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background would hand on another
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        command = [sys.executable, "-c", LISTENS, address, str(patience)]
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            mute.accept()
            time.sleep(1)
            start = time.monotonic()
            if number is not None:
                process.send_signal(number)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - start < 5
    if number is None:
        assert f"error: runtime.address={address}: no Ray cluster answers there (what listens there" in errors


def test_a_private_instance_that_does_not_start_is_tried_again_and_then_given_up(absent: Absent) -> None:
    with pytest.raises(RunFailedError, match="timed out during startup"), connected(RuntimeConfig("local"), 1):
        pass
    assert absent.starts == 3


@pytest.mark.parametrize(("setting", "value"), [("num_cpus", 4096.0), ("tier_labels", {4: "small", 12: "large"})])
def test_what_a_private_instance_cannot_have_is_refused_before_it_starts(
    setting: str, value: object, absent: Absent
) -> None:
    runtime = RuntimeConfig("local", **{setting: value})
    with pytest.raises(SettingError, match=r"this machine has|have no labels") as refusal, connected(runtime, 0):
        pass
    assert refusal.value.args[:2] == (f"runtime.{setting}", value)
    assert absent.starts == 0


def test_gpus_that_are_not_there_or_that_pytorch_cannot_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for count, reason in ((5, "5 client actors need 2.5 GPUs, and this machine has 2"), (2, "PyTorch can use none")):
        with pytest.raises(SettingError, match=rf"^runtime.num_gpus=0.5: .*{reason}"):
            refuse_excess([SlotSpec(12, 1.0, 0.5)] * count, RuntimeConfig(num_gpus=0.5))
    refuse_excess([SlotSpec(12, 1.0, 0.0)], RuntimeConfig())


def test_a_cluster_answers_until_nothing_listens_at_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection.answers()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    context = SimpleNamespace(gcs_address=nobody)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    assert not connection.answers()


def test_a_cluster_that_asks_for_a_token_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    address = ray.get_runtime_context().gcs_address
    program = "import sys; from fedra_ray.runtime.connection import _probe; _probe(sys.argv[1])"
    stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    refused = subprocess.run(
        [sys.executable, "-c", program, address], capture_output=True, text=True, env=stranger, timeout=60, check=False
    )
    assert refused.returncode == 1
    assert "RAY_AUTH_MODE=: this cluster asks for its token" in refused.stderr


def test_a_cluster_that_does_not_answer_is_left_without_a_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fake = SimpleNamespace(is_initialized=lambda: said[-1:] == ["hello"], shutdown=lambda: said.append("goodbye"))
    monkeypatch.setattr(connection, "ray", fake)
    monkeypatch.setattr(connection, "_connect", lambda *_: said.append("hello"))
    monkeypatch.setattr(connection, "answers", lambda: False)
    with connected(RuntimeConfig(), 1):
        pass
    assert said == ["hello"]
    monkeypatch.setattr(connection, "answers", lambda: True)
    with connected(RuntimeConfig(), 1) as private:  # what is left of the old connection goes first
        assert private
    assert said == ["hello", "goodbye", "hello", "goodbye"]
    assert not connection.deserted.is_set()
