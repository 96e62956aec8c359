"""Errors a user can act on. Each says everything in its message; no traceback is needed to understand it."""

from typing import Any

_REASON_LENGTH = 300  # characters: libraries may quote whole files


class SettingError(ValueError):
    """A setting that cannot work: names the setting, its value and what is allowed. Raised before any actor starts."""

    def __init__(self, setting: str, value: Any, allowed: str) -> None:
        super().__init__(setting, value, allowed)  # all three, so that the error survives pickling

    def __str__(self) -> str:
        setting, value, allowed = self.args
        return f"{setting}={'null' if value is None else value}: {allowed}"


class RunFailedError(RuntimeError):
    """A run that started and cannot be completed."""


class ClientLostError(RunFailedError):
    """Clients whose local training failed on every attempt, so that the round cannot be completed."""

    def __init__(self, round_number: int, clients: list[int], attempts: int, cause: str) -> None:
        super().__init__(round_number, clients, attempts, cause)

    def __str__(self) -> str:
        round_number, clients, attempts, cause = self.args
        names = ", ".join(map(str, clients))
        return f"round {round_number}: client {names} failed {attempts} times, the last time with: {cause}"


class ImageError(RunFailedError):
    """An image that is missing or cannot be decoded: its path or place, and the reason."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)

    def __str__(self) -> str:
        name, reason = self.args
        return f"image {name}: {reason}; dataset.on_error=skip leaves such images out and counts them"


def one_line(text: str) -> str:
    """One line without control characters: messages quote names of a data set, which must not steer a terminal."""
    joined = " ".join(text.split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in joined)


def error_text(error: BaseException) -> str:
    """The start of an error's message, in one line; the name of its type if the message is empty."""
    return one_line(str(error))[:_REASON_LENGTH] or type(error).__name__
