import signal
import subprocess
import sys
import time

import pytest

from fedra_ray.runtime import interruption
from fedra_ray.runtime.interruption import Terminated, terminable


def interrupted_as_by_ray() -> None:
    """What Ray's calls make of any signal: they raise an interruption of their own."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def test_a_signal_ends_what_goes_on() -> None:
    with pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)


def test_one_that_a_call_turned_into_a_plain_interruption_is_told_from_a_persons() -> None:
    with pytest.raises(Terminated), terminable():
        interrupted_as_by_ray()
    with pytest.raises(KeyboardInterrupt) as interruption, terminable():
        raise KeyboardInterrupt
    assert type(interruption.value) is KeyboardInterrupt


def test_the_handler_of_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with terminable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_main_thread_that_does_not_hear_a_signal_ends_the_process(number: signal.Signals) -> None:
    program = f"""
import ctypes, os, signal, threading
from fedra_ray.runtime import interruption

signal.signal(signal.SIGINT, signal.default_int_handler)
interruption._DEAF_SECONDS = 0.5
libc = ctypes.CDLL(None)
with interruption.terminable():
    threading.Timer(0.2, os.kill, (os.getpid(), {int(number)})).start()
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):  # locked already, it waits in C for ever, as some of Ray's calls do
        libc.pthread_mutex_lock(mutex)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 128 + number
    assert ended.stderr == "Ray does not answer; ended without saving\n"


def test_who_ignores_interruptions_goes_on_doing_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminable():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_that_is_heard_lets_the_end_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "_DEAF_SECONDS", 0.1)

    def slow_end() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            time.sleep(0.4)

    # tests that a shell started in the background inherit that it is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), terminable():
            slow_end()
    finally:
        signal.signal(signal.SIGINT, before)
