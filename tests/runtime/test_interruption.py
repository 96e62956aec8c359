import signal

import pytest

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
