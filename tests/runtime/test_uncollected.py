"""Imports without garbage collection."""

import gc
from collections.abc import Iterator

import pytest

from fedra_ray.runtime.uncollected import uncollected


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_nothing_is_collected_meanwhile_and_what_was_made_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_collections_go_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
