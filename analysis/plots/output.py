"""The output of an analysis: a table (Parquet and CSV) and a figure (PNG and SVG) of the same name."""

import io

import pandas as pd
from matplotlib.figure import Figure

from fedra_ray.report.style import png, svg
from fedra_ray.run_dir.folder import Folder


def write(out: str, name: str, table: pd.DataFrame, figure: Figure | None = None) -> None:
    """Write a table as NAME.parquet and NAME.csv, and a figure as NAME.png and NAME.svg, into a folder or URI.

    Raises:
        SettingError: if `out` is on no file system that pyarrow knows.
        RunFailedError: if a file cannot be written.
    """
    folder = Folder(out, "--out")
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    folder.write(f"{name}.parquet", buffer.getvalue())
    folder.write(f"{name}.csv", table.to_csv(index=False).encode())
    if figure is not None:
        folder.write(f"{name}.png", png(figure))
        folder.write(f"{name}.svg", svg(figure, name))
