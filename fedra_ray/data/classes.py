"""Names of classes and domains in one form, and the labels that a run gives to the classes that it takes."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError, one_line

#: Values of `dataset.options.classes`: names of classes, or the data set's own numbers of them; None takes all.
Chosen = Sequence[str | int] | None
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Classes:
    """The classes that a run takes of a data set, in the order of their labels.

    Attributes:
        names: Their names.
        numbers: The numbers that the data set itself gives them, ascending.
        notes: What a person should know of them, a line each.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[int, int]:
        """The label of every class that is taken, by the data set's number of it."""
        return {number: label for label, number in enumerate(self.numbers)}

    def labelled(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The labels of the data set's numbers (n,) of classes; -1 for those that are not taken."""
        places = np.searchsorted(self.numbers, numbers).clip(max=len(self.numbers) - 1)
        return np.where(np.take(self.numbers, places) == numbers, places, -1)


def one_form(name: str) -> str:
    """A name with composed letters (Unicode's form NFC) and without outer spaces.

    Archives of a Mac decompose letters, so the same class may come in two spellings that look the same.
    """
    return unicodedata.normalize("NFC", name).strip() or name


def check_alike(names: Iterable[str], kind: str, root: str, instead: str = "") -> None:
    """Refuse names that differ by case or spaces alone: each would be a class that other domains do not have.

    Names of one letter may differ by case: data sets of handwriting have the classes `a` and `A`.

    Args:
        names: Names in one form.
        kind: What they name, classes or domains.
        root: The data set, for the message.
        instead: What one can do but rename one of them.

    Raises:
        SettingError: naming the first two.
    """
    first: dict[str, str] = {}
    for name in names:
        alike = " ".join(unicodedata.normalize("NFC", name.casefold()).split()) if len(name) > 1 else name
        other = first.setdefault(alike, name)
        if other != name:
            differing = f"has the {kind} {other!r} and {name!r}, which differ by case or spaces alone"
            raise SettingError("dataset.root", root, f"{differing}; rename one{instead}")


def take(known: Mapping[int, str], chosen: Chosen, root: str) -> Classes:
    """The classes that a run takes, which get the labels 0, 1, 2, ... in the order of the data set's numbers.

    Args:
        known: The name in one form of every class, by the data set's number of it.
        chosen: The value of `dataset.options.classes`.
        root: The data set, for messages.

    Raises:
        SettingError: if two classes have one name or names that differ by case or spaces alone, a chosen class is not
            there or chosen twice, or none is left.
    """
    numbers: dict[str, int] = {}
    for number, name in sorted(known.items()):
        if numbers.setdefault(name, number) != number:
            allowed = f"gives the numbers {numbers[name]} and {number} to classes of the same name, {one_line(name)}"
            raise SettingError("dataset.root", root, allowed)
    if chosen is None:
        check_alike(known.values(), "classes", root, ", or list those that you mean in dataset.options.classes")
        taken = sorted(known)
    else:
        taken = sorted(_number(choice, known, numbers) for choice in chosen)
        if len(set(taken)) < len(taken):
            raise SettingError("dataset.options.classes", list(chosen), "names a class more than once")
    if not taken:
        raise SettingError("dataset.root", root, "has no class that is taken")
    names = tuple(known[number] for number in taken)
    return Classes(names, tuple(taken), _notes(names, taken, known))


def check_number(names: Sequence[str], root: str) -> None:
    """Refuse a data set of less than two classes: whatever a model says, it would always be right.

    Raises:
        SettingError: naming the only one.
    """
    if len(names) < 2:
        raise SettingError("dataset.root", root, f"has only the class {shortened(names)}; there must be two at least")


def without_images(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    """A line on the domains that have no image of the classes that are taken.

    Args:
        before: All domains of the data set.
        after: Those that have one.
    """
    gone = sorted({*before} - {*after})
    return (f"passed over {len(gone)} domains without an image of these classes: {shortened(gone)}",) if gone else ()


def shortened(names: Collection[str]) -> str:
    """A list of names for a message: the first ones, and how many more there are."""
    shown = ", ".join(map(one_line, list(names)[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _number(choice: str | int, known: Mapping[int, str], numbers: Mapping[str, int]) -> int:
    """The data set's number of a chosen class. A name that is a number counts as a name first."""
    name = one_form(str(choice))
    if name in numbers:
        return numbers[name]
    if isinstance(choice, int) and choice in known:
        return choice
    there = f"the classes are {shortened([f'{name} ({number})' for number, name in sorted(known.items())])}"
    raise SettingError("dataset.options.classes", choice, f"is no class of the data set; {there}")


def _notes(names: Sequence[str], taken: Sequence[int], known: Mapping[int, str]) -> tuple[str, ...]:
    notes = [f"takes {len(taken)} of {len(known)} classes"] if len(taken) < len(known) else []
    if list(taken) != list(range(len(taken))):
        pairs = [f"{number} ({name})" for number, name in zip(taken, names, strict=True)]
        notes.append(f"labels 0 to {len(taken) - 1} stand for the data set's numbers {shortened(pairs)}")
    return tuple(notes)
