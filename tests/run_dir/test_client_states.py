from pathlib import Path

import numpy as np
import pytest

from fedra_ray.config.errors import RunFailedError
from fedra_ray.run_dir.client_states import ClientStates
from fedra_ray.run_dir.folder import Folder


def state(number: int) -> dict[str, np.ndarray]:
    return {"own": np.full(3, number, np.float32)}


def write(states: ClientStates, number: int, clients: list[int], oldest: int) -> None:
    states.hold({client: state(number) for client in clients})
    states.write(number, oldest)


def kept(states: ClientStates, clients: list[int], last_round: int | None = None) -> dict[int, float]:
    return {client: float(each["own"][0]) for client, each in states.read(clients, last_round).items()}


def files(folder: Path) -> dict[str, list[str]]:
    return {client.name: sorted(path.stem for path in client.iterdir()) for client in folder.iterdir()}


def test_only_clients_that_were_sampled_leave_anything(tmp_path: Path) -> None:
    states = ClientStates(Folder(tmp_path))
    write(states, 1, [4, 700_000], oldest=0)
    assert kept(ClientStates(Folder(tmp_path)), [4, 5, 700_000]) == {4: 1.0, 700_000: 1.0}
    assert files(tmp_path / "client_states") == {"4": ["000001"], "700000": ["000001"]}


def test_a_round_that_is_not_written_yet_is_read_from_memory(tmp_path: Path) -> None:
    states = ClientStates(Folder(tmp_path))
    write(states, 1, [0, 1], oldest=0)
    states.hold({0: state(2)})
    assert kept(states, [0, 1]) == {0: 2.0, 1: 1.0}
    states.write(2, oldest=0)
    assert kept(states, [0, 1]) == {0: 2.0, 1: 1.0}


def test_going_back_to_a_round_finds_what_clients_had_then(tmp_path: Path) -> None:
    states = ClientStates(Folder(tmp_path))
    for number, clients in ((1, [0, 1]), (2, [0]), (3, [0, 2])):
        write(states, number, clients, oldest=0)
    again = ClientStates(Folder(tmp_path))
    assert kept(again, [0, 1, 2], last_round=2) == {0: 2.0, 1: 1.0}
    again.restore(2)
    assert kept(again, [0, 1, 2]) == {0: 2.0, 1: 1.0}
    again.restore(0)
    assert kept(again, [0, 1, 2]) == {}


def test_what_no_restart_point_needs_is_deleted(tmp_path: Path) -> None:
    states = ClientStates(Folder(tmp_path))
    for number in range(1, 7):
        write(states, number, [0], oldest=min(number, 4))
    assert files(tmp_path / "client_states") == {"0": ["000004", "000005", "000006"]}


def test_a_damaged_file_ends_in_one_line(tmp_path: Path) -> None:
    states = ClientStates(Folder(tmp_path))
    write(states, 1, [0], oldest=0)
    (tmp_path / "client_states" / "0" / "000001.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunFailedError, match=r"client_states/0/000001.safetensors is damaged"):
        states.read([0])
