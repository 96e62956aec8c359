from pathlib import Path

import pandas as pd

from analysis.plots.output import write
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
