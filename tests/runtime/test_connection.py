"""A private Ray instance is private."""

import os

import psutil
import pytest
import ray

from fedra_ray.runtime.environment import declare

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
    assert declare(address) == (address or "auto")
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert "RAY_AUTH_MODE" not in os.environ
