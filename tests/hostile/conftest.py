"""The miniature world on the command line, and what every refusal must look like there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fedra_ray.cli.main import main
from fedra_ray.config.schema import BackboneConfig


@pytest.fixture
def refused(
    world: Path,
    vit_config: BackboneConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """refused(*overrides, verb="run", code=2): the one line with which the command refuses the miniature world so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "modules"))
    settings = {
        "dataset": "parquet",
        "dataset.root": str(world / "shapes.parquet"),
        **{f"++backbone.model_args.{name}": str(value) for name, value in vit_config.model_args.items()},
        "backbone.checkpoint": str(world / "vit.safetensors"),
        "fleet.depths": "[4,2,1]",
        "fleet.num_clients": "3",
        "run_dir": str(tmp_path / "run"),
        "rounds": "2",
    }

    def refuse(*overrides: str, verb: str = "run", code: int = 2) -> str:
        keys = {override.partition("=")[0] for override in overrides}
        kept = [f"{name}={value}" for name, value in settings.items() if name not in keys]
        capfd.readouterr()
        assert main([verb, *kept, *overrides]) == code
        message = capfd.readouterr().err
        assert re.fullmatch(r"error: \S.*\n", message), message  # one line
        assert message.strip().isprintable()
        assert len(message) < 3000
        assert not (tmp_path / "run").exists()
        return message

    return refuse
