"""The picture of a partition, partition.png."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedra_ray.report.names import short

_MOST_NAMES = 40  # more labels than this on an axis cannot be read
_MOST_CLIENTS = 2000  # more rows than this are finer than the figure's pixels, and take memory


def class_counts(partition: pa.Table, num_classes: int) -> NDArray[np.int64]:
    """Images (clients, classes) of a partition table (`fedra_ray.data.division.TABLE`)."""
    clients, labels, images = (partition[name].to_numpy() for name in ("client", "label", "images"))
    counts = np.zeros((clients.max() + 1, num_classes), dtype=np.int64)
    np.add.at(counts, (clients, labels), images)
    return counts


def draw_partition(partition: pa.Table, classes: tuple[str, ...]) -> bytes:
    """A PNG of clients against classes, coloured by the number of images; of a large fleet the first 2,000 clients."""
    from fedra_ray.report.style import SEQUENTIAL, drawing, png  # takes half a second, only at a run's end

    partition = partition.filter(pc.less(partition["client"], _MOST_CLIENTS))
    counts = class_counts(partition, len(classes))
    owners: dict[int, set[str]] = {}
    for client, domain in zip(partition["client"].to_pylist(), partition["domain"].to_pylist(), strict=True):
        owners.setdefault(client, set()).add(domain)
    names = [
        f"{client}  {'/'.join(sorted(owners[client])) if len(owners[client]) < 3 else 'mixed'}" for client in owners
    ]
    with drawing(8, 1.6 + 0.2 * min(len(counts), _MOST_NAMES)) as (figure, (axes,)):
        image = axes.imshow(counts, aspect="auto", cmap=SEQUENTIAL, interpolation="nearest", vmin=0)
        figure.colorbar(image, label="training images")
        axes.set(title=f"Training images of {len(counts)} clients", xlabel="class", ylabel="client and domain")
        if len(counts) <= _MOST_NAMES:
            axes.set_yticks(range(len(names)), [*map(short, names)], fontsize=7)
        if len(classes) <= _MOST_NAMES:
            rotation = 90 if max(map(len, classes)) > 2 else 0
            axes.set_xticks(range(len(classes)), [*map(short, classes)], fontsize=7, rotation=rotation)
        return png(figure)
