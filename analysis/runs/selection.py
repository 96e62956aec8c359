"""Which rounds of a run are analysed."""

from collections.abc import Sequence

from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.claim import SETTING


def every_round(run: Run, wanted: Sequence[int] | None = None) -> list[int]:
    """The wanted rounds, ascending; None takes round 0, with which the run began, and all that it keeps.

    Raises:
        SettingError: for a round whose adapter the run does not keep, or if it keeps none at all.
    """
    kept = [0, *run.saved_rounds]
    if len(kept) == 1:
        raise SettingError(SETTING, str(run.folder), "keeps no restart points: checkpoint.every, checkpoint.keep")
    for number in wanted or ():
        if number not in kept:
            allowed = f"{run.folder} keeps the rounds {', '.join(map(str, kept))}"
            raise SettingError("--rounds", number, allowed)
    return sorted(set(wanted or kept))


def few_rounds(run: Run, wanted: Sequence[int] | None = None) -> list[int]:
    """Round 0, to compare with, and the wanted rounds; None takes the first, the middle and the last kept."""
    rounds = every_round(run, wanted)
    return sorted({0, *(wanted or (rounds[1], rounds[len(rounds) // 2], rounds[-1]))})
