"""Imports without garbage collection, which would look through all that was imported so far, again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import torch and timm without collections, which take a sixth of the time and find next to nothing.

    What is there at the end is never looked through again: for processes of our own, which keep their modules.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
