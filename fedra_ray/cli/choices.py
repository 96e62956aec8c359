"""What help says of the settings: the choices in conf/, and the settings used most."""

import textwrap
from collections.abc import Mapping

import yaml

from fedra_ray.config.paths import conf_dir

_WIDTH = 88
_EXAMPLES = """\
single settings, for example:
  rounds=40  seed=0  run_dir=runs/mine
  training.lr=0.1  lora.rank=8  evaluation.every=20  on_client_failure=drop
  dataset.root=PATH_OR_URI  backbone.checkpoint=FILE
  fleet.num_clients=30  fleet.clients_per_round=6  fleet.depths=[12,10,8,6,4,3]
  fleet.memory_mb=[4000,2000,1000]  fleet.devices=[phone,laptop,edge_gpu,workstation]
  runtime.max_actors=2  runtime.num_gpus=0.25  runtime.address=auto"""


def overview() -> str:
    """Every group with its choices, and examples of single settings, for the end of a help text."""
    return "\n\n".join([choices(_defaults()), f"{_EXAMPLES}\nall of them, with their defaults, are in {conf_dir()}"])


def choices(defaults: Mapping[str, str | None]) -> str:
    """The choices of groups of settings, for the end of a help text; a group with a single choice is left out.

    Args:
        defaults: The default choice, if there is one, by the name of the group: a folder in conf/.
    """
    star = " (* is the default)" if any(defaults.values()) else ""
    lines = [f"choices of whole groups of settings, as GROUP=CHOICE{star}:"]
    for group, default in defaults.items():
        names = options(group)
        if len(names) > 1:
            text = ", ".join(f"{name}*" if name == default else name for name in names)
            lines.append(textwrap.fill(text, _WIDTH, initial_indent=f"  {group:11} ", subsequent_indent=" " * 14))
    return "\n".join(lines)


def groups() -> list[str]:
    """The names of all groups: the folders in conf/."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())


def options(group: str) -> list[str]:
    """The choices of a group, by name: its files in conf/."""
    folder = conf_dir() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def _defaults() -> dict[str, str | None]:
    """The groups of conf/config.yaml, in its order, and the default choice of each."""
    entries = yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}
    return {group: option for group, option in chosen.items() if " " not in group}  # `optional X` follows from others
