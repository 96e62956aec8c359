from pathlib import Path

import pandas as pd
import pytest

from analysis.plots.output import main, write
from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.report.style import drawing


def test_table_and_figure_have_one_name(tmp_path: Path) -> None:
    with drawing(2, 2) as (figure, (axes,)):
        axes.plot([1, 2])
    write(str(tmp_path / "new"), "curve", pd.DataFrame({"x": [1, 2]}), figure)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "curve.csv",
        "curve.parquet",
        "curve.png",
        "curve.svg",
    ]
    assert pd.read_parquet(tmp_path / "new" / "curve.parquet")["x"].tolist() == [1, 2]


@pytest.mark.parametrize(("error", "code"), [(SettingError("a", 1, "b"), 2), (RunFailedError("no"), 1)])
def test_a_failure_is_one_line_and_a_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def analyse() -> None:
        raise error

    assert main(analyse) == code
    assert capsys.readouterr().err == f"error: {error}\n"
    assert main(lambda: None) == 0
