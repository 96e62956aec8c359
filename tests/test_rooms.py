"""Which room of fedra_ray may import which, and how deep they stand on each other.

A *room* is a folder of fedra_ray, or a file at its top. An import counts wherever it stands in a file, inside a
function too; one under `if TYPE_CHECKING` counts as well, unless TYPES_ONLY allows just that.
"""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fedra_ray"
MOST_LEVELS = 11

_CORE = {"config", "federation", "model", "data", "methods", "cost"}
_RUN = _CORE | {"blueprint", "preflight", "client", "run_dir", "experiment"}

#: What a room may import. `fedra_ray` is fedra_ray/__init__.py, which names the public API.
ALLOWED: dict[str, set[str]] = {
    "config": set(),
    "federation": {"config"},
    "model": {"config", "federation"},
    "data": {"config", "federation", "model"},  # of model, the batch that examples come in
    "methods": {"config", "federation"},
    "cost": {"config", "federation", "model", "data", "methods"},
    "blueprint": {"config", "federation", "data", "methods", "cost"},
    "preflight": _CORE | {"blueprint"},
    "client": {"blueprint", "config", "data", "federation", "methods", "model", "preflight"},
    "run_dir": {"config", "federation", "model"},  # of model, what must be imported before peft
    "experiment": {"blueprint", "cost", "federation", "methods", "run_dir"},
    "report": {"config", "run_dir"},
    "watch": {"blueprint", "config", "federation", "model", "report", "run_dir"},
    "runtime": _RUN | {"watch"},
    "loading": {"config", "data", "federation", "methods", "model", "preflight", "run_dir"},
    "testing": {"blueprint", "config", "data", "federation", "methods", "model"},
    "cli": {"config", "cost", "data", "report", "run_dir", "runtime", "watch"},
    "api": {"client", "config", "experiment", "federation", "preflight", "run_dir", "runtime", "watch"},
    "fedra_ray": {"api", "cli", "config", "data", "loading", "methods"},
    "__main__": {"cli"},
}
#: What a room may import for types alone, under `if TYPE_CHECKING`.
TYPES_ONLY = {"methods": {"model"}}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    """The room of a module; `fedra_ray` for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def sources() -> dict[str, ast.Module]:
    """The syntax tree of every module."""
    trees = {module_name(path): ast.parse(path.read_text(), filename=str(path)) for path in PACKAGE.rglob("*.py")}
    assert len(trees) > 30
    return trees


def imported(tree: ast.Module, modules: set[str]) -> Iterator[tuple[str, bool]]:
    """Modules of fedra_ray that a module names in an import, and whether for types alone."""
    for_types = {
        id(statement)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for body in node.body
        for statement in ast.walk(body)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports within fedra_ray are absolute"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else str(node.module) for name in below]
        yield from ((name, id(node) in for_types) for name in names if name.split(".")[0] == "fedra_ray")


@cache
def arrows() -> dict[tuple[str, str], set[str]]:
    """Arrows between rooms that the code has, each with the modules that import so."""
    trees = sources()
    importers: dict[tuple[str, str], set[str]] = {}
    for module, tree in trees.items():
        for target, for_types in imported(tree, set(trees)):
            arrow = (room(module), room(target))
            if arrow[0] == arrow[1] or (for_types and arrow[1] in TYPES_ONLY.get(arrow[0], set())):
                continue
            importers.setdefault(arrow, set()).add(module)
    return importers


def levels(graph: dict[str, set[str]]) -> int:
    """How many rooms the longest path has.

    Raises:
        graphlib.CycleError: if the arrows go in a circle.
    """
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    count = 0
    while sorter.is_active():
        sorter.done(*sorter.get_ready())
        count += 1
    return count


def test_every_room_has_a_row_in_the_table() -> None:
    assert {room(module) for module in sources()} == set(ALLOWED)


def test_a_room_imports_only_what_the_table_allows() -> None:
    forbidden = {arrow: sorted(modules) for arrow, modules in arrows().items() if arrow[1] not in ALLOWED[arrow[0]]}
    assert forbidden == {}


def test_the_table_allows_nothing_that_no_import_needs() -> None:
    allowed = {(source, target) for source, targets in ALLOWED.items() for target in targets}
    assert allowed - arrows().keys() == set()


def test_the_table_has_no_circle_and_at_most_eleven_levels() -> None:
    assert levels({name: allowed | TYPES_ONLY.get(name, set()) for name, allowed in ALLOWED.items()}) <= MOST_LEVELS


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    trees = sources()
    levels({module: {name for name, _ in imported(tree, set(trees))} - {module} for module, tree in trees.items()})


def test_a_circle_is_noticed_and_levels_are_counted() -> None:
    assert levels({"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a"}}) == 3
    with pytest.raises(ValueError, match="cycle"):
        levels({"a": {"b"}, "b": {"a"}})


def test_imports_are_seen_in_functions_and_told_from_those_for_types() -> None:
    code = "def f():\n    from fedra_ray import experiment\nif TYPE_CHECKING:\n    import fedra_ray.model.lora"
    modules = {"fedra_ray", "fedra_ray.experiment", "fedra_ray.model.lora"}
    assert sorted(imported(ast.parse(code), modules)) == [
        ("fedra_ray.experiment", False),
        ("fedra_ray.model.lora", True),
    ]
    assert list(imported(ast.parse("from fedra_ray import run_local"), modules)) == [("fedra_ray", False)]


def test_the_init_files_of_rooms_import_nothing() -> None:
    for path in sorted(PACKAGE.glob("*/**/__init__.py")):
        imports = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert imports == [], f"{path.relative_to(ROOT)} would load modules that its room's users do not need"
