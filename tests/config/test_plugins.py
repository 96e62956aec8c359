from typing import Any

import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.data.dataset import Dataset
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Method, Problem

FEDRA = "fedra_ray.methods.fedra.FedRA"
ARGUMENTS = {"problem": Problem(4, (4,))}


def refusal_of(target: str, kind: type = Method, **arguments: Any) -> SettingError:
    with pytest.raises(SettingError) as refusal:
        instantiate(target, "method", kind, arguments)
    return refusal.value


def test_a_class_is_made_with_its_arguments() -> None:
    method = instantiate(FEDRA, "method", Method, ARGUMENTS | {"draw": "covering"})
    assert type(method) is FedRA
    assert method.draw == "covering"


@pytest.mark.parametrize("target", ["", "FedRA", "no.such.module.FedRA", "fedra_ray.methods.fedra.Missing", ".FedRA"])
def test_a_target_that_cannot_be_imported_is_refused(target: str) -> None:
    error = refusal_of(target, **ARGUMENTS)
    assert error.args[:2] == ("method.target", target)
    assert "cannot be imported" in str(error)


@pytest.mark.parametrize("target", ["fedra_ray.data.parquet.ParquetDataset", "math.sqrt", "math.pi"])
def test_another_kind_of_object_is_refused(target: str) -> None:
    error = refusal_of(target, **ARGUMENTS)
    assert error.args[:2] == ("method.target", target)
    assert "must be a subclass of fedra_ray.methods.method.Method" in str(error)


def test_an_abstract_class_is_refused() -> None:
    assert refusal_of("fedra_ray.methods.method.Method", **ARGUMENTS).args[0] == "method.target"


def test_an_unknown_option_is_refused() -> None:
    error = refusal_of(FEDRA, **ARGUMENTS, pace=3)
    assert str(error) == (
        "method.options.pace=3: FedRA has no such option; leave it out by ~method.options.pace, "
        "or write conf/method/NAME.yaml and method=NAME for a class of its own"
    )


def test_a_missing_option_is_named() -> None:
    error = refusal_of("fedra_ray.data.parquet.ParquetDataset", Dataset, root="x")
    assert error.args[:2] == ("method.options.image_size", None)


class Open(FedRA):
    """Takes any options."""

    def __init__(self, problem: Problem, pace: float = 1.0, **others: Any) -> None:
        super().__init__(problem)
        if pace == 0:
            raise ZeroDivisionError("no pace")
        self.others = others


OPEN = f"{__name__}.Open"


def test_a_class_may_take_any_options() -> None:
    assert instantiate(OPEN, "method", Method, ARGUMENTS | {"speed": 3}).others == {"speed": 3}


def test_an_option_of_another_type_is_refused() -> None:
    assert str(refusal_of(OPEN, **ARGUMENTS, pace="fast")) == "method.options.pace=fast: must be a number"


def test_a_class_that_raises_is_refused_with_what_it_raised() -> None:
    error = refusal_of(OPEN, **ARGUMENTS, pace=0)
    assert error.args == ("method.target", OPEN, "cannot be made: ZeroDivisionError: no pace")
