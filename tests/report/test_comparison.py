from dataclasses import replace
from typing import Any

import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.report.comparison import Measure, boards, compare
from fedra_ray.report.facts import Facts
from fedra_ray.run_dir.reading import method_label


@pytest.fixture
def variant(facts: Facts) -> Any:
    """variant(mean, **settings): the run with another result and other settings."""

    def make(mean: float, **settings: Any) -> Facts:
        changed = facts.settings | {name.replace("__", "."): value for name, value in settings.items()}
        method = method_label(changed)
        found = replace(facts, settings=changed, method=method, mean=mean, seed=changed["seed"])
        return replace(found, dataset=changed["dataset.name"], where=str(sorted(settings.items())))

    return make


def test_runs_that_differ_in_their_seed_are_averaged(variant: Any) -> None:
    (group,) = compare([variant(0.4, seed=1), variant(0.6, seed=0)])
    assert [run.seed for run in group.runs] == [0, 1]
    assert group.label == "FedRA"
    assert group.mean == Measure(0.5, pytest.approx(0.2**2 / 2 / 0.2 * 2**0.5))
    assert group.name(group.runs[0]) == "FedRA, seed 0"
    assert group.accuracy("nowhere") is None


def test_so_are_those_in_which_domains_swap_depths(variant: Any) -> None:
    swapped = {"fleet__depths": [1, 2, 4]}
    assert len(compare([variant(0.4), variant(0.6, **swapped)])) == 1
    dynamic = {"fleet__dynamic": True}
    assert len(compare([variant(0.4, **dynamic), variant(0.6, **swapped, **dynamic)])) == 2


def test_settings_that_never_change_a_result_tell_nothing_apart(variant: Any) -> None:
    assert len(compare([variant(0.4, runtime__max_actors=2), variant(0.4, seed=1)])) == 1


def test_the_best_is_first_and_labels_are_short(variant: Any) -> None:
    other = {"method__name": "depthfl", "method__label": "DepthFL", "method__target": "elsewhere"}
    groups = compare([variant(0.4), variant(0.5, training__lr=0.3), variant(0.6, **other)])
    assert [group.label for group in groups] == ["DepthFL", "FedRA, lr=0.3", "FedRA, lr=0.1"]
    assert groups[0].apart == ["training.lr=0.1"]


def test_a_named_section_is_called_by_its_name(variant: Any) -> None:
    groups = compare([variant(0.4, partition__name="lazy"), variant(0.5, partition__name="iid")])
    assert [group.label for group in groups] == ["FedRA, partition=iid", "FedRA, partition=lazy"]


def test_runs_that_differ_in_much_are_numbered(variant: Any) -> None:
    groups = compare([variant(0.4), variant(0.5, training__lr=0.3, rounds=9)])
    assert [group.label for group in groups] == ["FedRA 1", "FedRA 2"]
    assert groups[0].apart == ["training.lr=0.3", "rounds=9"]


def test_results_are_only_compared_on_the_same_images(variant: Any) -> None:
    found = boards(compare([variant(0.4), variant(0.9, dataset__name="others"), variant(0.5, rounds=3)]))
    assert [[group.mean.mean for group in board] for board in found] == [[0.9], [0.5, 0.4]]


def test_a_run_that_is_named_twice_is_refused(variant: Any) -> None:
    with pytest.raises(SettingError, match="is the same run as"):
        compare([variant(0.4), variant(0.4, run_dir="elsewhere")])
