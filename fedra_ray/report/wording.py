"""The sentences of a page: results, coverage, quantities."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fedra_ray.report.comparison import Group, Measure, boards
from fedra_ray.report.facts import Facts

_MOST_NAMED = 6  # layers or runs that a sentence lists


def percent(measure: Measure | float | None) -> str:
    """80.0 %, or 80.0 ± 0.5 %; nothing for None."""
    if measure is None:
        return ""
    if isinstance(measure, float):
        return f"{100 * measure:.1f}\u00a0%"
    deviation = "" if measure.deviation is None else f"\u00a0±\u00a0{100 * measure.deviation:.1f}"
    return f"{100 * measure.mean:.1f}{deviation}\u00a0%"


def count(number: int, noun: str) -> str:
    """1 round, 2 rounds, 1,000 rounds."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def result(groups: Sequence[Group]) -> str:
    """The result of one run, or of several, in one sentence; `groups` has the best of each data set first."""
    sentences = [_standing(board) for board in boards(groups)]
    return "; ".join(sentences) + "."


def _standing(board: Sequence[Group]) -> str:
    """How one group did, or which of several is ahead."""
    best = board[0]
    first = board[0].runs[0]
    domains = count(len(first.accuracy), "domain")
    reached = f"{percent(best.mean)} mean {first.split} accuracy over {domains} of {first.dataset}"
    if len(board) == 1:
        several = f" ({len(best.runs)} seeds)" if len(best.runs) > 1 else ""
        return f"{best.label} reached {reached} after {count(first.rounds, 'round')}{several}"
    lead = 100 * (best.mean.mean - board[1].mean.mean)
    ahead = f"{lead:.1f} points ahead of" if lead >= 0.05 else "level with"
    return f"{best.label} is the best of {len(board)} with {reached}, {ahead} {board[1].label}"


def gaps(facts: Facts) -> str:
    """Which layers of the evaluated model had no holder, and how often."""
    held = facts.holders[:, facts.evaluated] > 0
    if not held.any():
        return "No client held a layer: only the classification head was trained."
    told = []
    outside = sorted(set(range(facts.holders.shape[1])) - set(facts.evaluated))
    if outside:
        told.append(f"{_layers(outside)} not part of the evaluated model.")
    ever = np.any(held, axis=0)
    never = [layer for layer, was_held in zip(facts.evaluated, ever.tolist(), strict=True) if not was_held]
    if never:
        told.append(f"{_layers(never)} held by nobody in any round and kept the first values.")
    missed = {layer: int(times) for layer, times in zip(facts.evaluated, (~held).sum(axis=0), strict=True) if times}
    sometimes = {layer: times for layer, times in missed.items() if layer not in never}
    if sometimes:
        affected = int((~held[:, ever]).any(axis=1).sum())
        total = count(len(held), "round")
        told.append(f"In {affected:,} of {total} some layer had no holder and kept its value: {_often(sometimes)}.")
    if not missed:
        told.append("Every layer had a holder in every round.")
    return " ".join(told)


def gaps_of(groups: Sequence[Group]) -> list[str]:
    """The sentences of `gaps` for several runs, each after the names of the runs that share it."""
    names_of: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        told = [gaps(run) for run in group.runs]
        if len(set(told)) == 1:
            names_of[told[0]].append(group.label)
        else:
            for run, sentence in zip(group.runs, told, strict=True):
                names_of[sentence].append(group.name(run))
    if len(names_of) == 1:
        return [f"All runs: {sentence}" for sentence in names_of]
    return [f"{_listed(names)}: {sentence}" for sentence, names in names_of.items()]


def _listed(names: Sequence[str]) -> str:
    others = len(names) - _MOST_NAMED
    return "; ".join(names[:_MOST_NAMED]) + (f"; {count(others, 'other')}" if others > 0 else "")


def _often(rounds: dict[int, int]) -> str:
    """In how many rounds each layer had no holder, the worst first."""
    ordered = sorted(rounds.items(), key=lambda entry: (-entry[1], entry[0]))
    named = [f"layer {layer} in {count(times, 'round')}" for layer, times in ordered[:_MOST_NAMED]]
    others = len(ordered) - _MOST_NAMED
    return ", ".join([*named, f"{count(others, 'other')} less often"] if others > 0 else named)


def _layers(numbers: Sequence[int]) -> str:
    """Layer 3 was; layers 3 to 11 were; layers 1, 4 and 5 were."""
    if len(numbers) == 1:
        return f"Layer {numbers[0]} was"
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"Layers {numbers[0]} to {numbers[-1]} were"
    return f"Layers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} were"
