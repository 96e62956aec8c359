"""What several test modules build their cases from."""

import io
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

from fedra_ray.config.paths import conf_dir
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientReport, ClientTask, Score
from fedra_ray.federation.reports import Missing, RoundReport, layer_holders, mean_loss
from fedra_ray.methods.local import LocalRound
from fedra_ray.run_dir.records import Records

#: What every image of a data set of the tests shows, by label.
SHAPES = ("square", "circle", "cross")
DOMAINNET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
NICOPP = ("autumn", "dim", "grass", "outdoor", "rock", "water")
#: Names of the same three classes in folders, in alphabetical order.
CLASSES = ("aircraft carrier", "bicycle", "hot air balloon")
#: Ways in which `write_tree` can spoil images.
DAMAGE = ("truncated", "missing", "text")


def shipped_method(name: str, **options: object) -> MethodConfig:
    """The method of conf/method/NAME.yaml, with these options on top."""
    settings = yaml.safe_load((conf_dir() / "method" / f"{name}.yaml").read_text())
    return MethodConfig(**{**settings, "options": {**settings.get("options", {}), **options}})


def local_round(layout: Layout, values: np.ndarray, layers: Sequence[int] = (), round_number: int = 1) -> LocalRound:
    """A client's round in which it trains these layers and every head, from these global values."""
    chosen = tuple(layers)
    return LocalRound(ClientTask(round_number, 0, chosen, layout.head_names), layout, values)


def note_round(
    records: Records,
    clients: Sequence[ClientReport],
    depths: int | list[int],
    number: int = 1,
    missing: Missing | None = None,
    scores: Sequence[Score] = (),
    num_layers: int = 4,
    domain: str = "dark",
) -> RoundReport:
    """Note a finished round in records: its averaged clients, all of one domain, their depths, and who is missing."""
    missing = missing or Missing()
    cohort = sorted([*(client.task.client for client in clients), *missing.clients()])
    report = RoundReport(
        round=number,
        seconds=1.5,
        cohort=cohort,
        layer_holders=layer_holders(clients, num_layers),
        loss=mean_loss(clients),
        bytes_up=sum(client.traffic.up for client in clients),
        bytes_down=sum(client.traffic.down for client in clients),
        bytes_fetched=sum(client.task.fetched for client in clients),
        missing=missing,
        simulated_s=None,
        retries=0,
        busy=0.0,
        scores=[*scores],
        phases={},
    )
    known = [depths] * len(cohort) if isinstance(depths, int) else depths
    drawn = DrawnRound(number, cohort, known, np.zeros((len(cohort), num_layers), bool))
    records.add(report, clients, drawn, Fleet(ExperimentConfig(), (domain,)), {})
    return report


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Whether anything listens on the port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process that a test waits for at the end, and that does not outlive a test that fails."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def ray_workers(title: str) -> list[psutil.Process]:
    """Ray's worker processes below this one whose title, the class and the method they are in, starts like this."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, IndexError):  # one that has just ended has no title
            if process.cmdline()[0].startswith(f"ray::{title}") and process.status() != psutil.STATUS_ZOMBIE:
                workers.append(process)
    return workers


Colour = tuple[int, int, int]


def _draw(shape: str, paper: Colour, ink: Colour, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """An RGB image (width, height) of a shape that fills a box (left, top, right, bottom)."""
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    if shape == "square":
        pen.rectangle(box, outline=ink, width=2)
    elif shape == "circle":
        pen.ellipse(box, fill=ink)
    else:
        pen.line((box[0], box[1], box[2], box[3]), fill=ink, width=2)
        pen.line((box[0], box[3], box[2], box[1]), fill=ink, width=2)
    return image


def draw_shape(label: int, domain: int, rng: np.random.Generator) -> Image.Image:
    """A photograph in miniature, with the ink and paper of a domain; sides of 20 to 48 pixels."""
    width, height = rng.integers(20, 49, size=2).tolist()
    left, top = rng.integers(1, 6, size=2).tolist()
    paper, ink = (40 * domain, 30, 200 - 30 * domain), (255 - 40 * domain, 220, 20 + 30 * domain)
    return _draw(SHAPES[label], paper, ink, (width, height), (left, top, width - 4, height - 4))


def _draw_grey(shape: str, domain: str, rng: np.random.Generator) -> bytes:
    """A 16 x 16 PNG of a shape, in the manner of a domain of `write_parquet`."""
    ink, paper = {"dark": (220, 30), "light": (30, 230), "noisy": (200, 90)}[domain]
    left, top = rng.integers(1, 5, size=2).tolist()
    image = _draw(shape, (paper, paper, paper), (ink, ink, ink), (16, 16), (left, top, left + 9, top + 9))
    pixels = np.asarray(image).astype(int) + (rng.integers(-60, 60, (16, 16, 3)) if domain == "noisy" else 0)
    return _encode(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "PNG")


def write_parquet(file: Path | BinaryIO) -> None:
    """A data set in one file: three domains of three shapes, 24 training, 6 validation and 6 test images per domain."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "image": _draw_grey(shape, domain, rng),
            "label": label,
            "label_name": shape,
            "domain": domain,
            "split": split,
            "source": f"{shape}-{domain}-{split}-{copy}",
        }
        for domain in ("dark", "light", "noisy")
        for split, copies in (("train", 8), ("validation", 2), ("test", 2))
        for label, shape in enumerate(SHAPES)
        for copy in range(copies)
    ]
    table = pa.Table.from_pylist(rows)
    schema = table.schema.set(table.schema.get_field_index("label"), pa.field("label", pa.int32()))
    pq.write_table(table.cast(schema), file)


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _grey16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


#: Kinds of image files that data sets of photographs and drawings really have: suffix and encoder of an RGB image.
KINDS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "rgb": (".jpg", lambda image: _encode(image, "JPEG")),
    "cmyk": (".jpg", lambda image: _encode(image.convert("CMYK"), "JPEG")),
    "grey": (".jpg", lambda image: _encode(image.convert("L"), "JPEG")),
    "palette": (".png", lambda image: _encode(image.quantize(8), "PNG")),
    "transparent palette": (".png", lambda image: _encode(image.quantize(8), "PNG", transparency=bytes([0, 128]))),
    "grey16": (".png", lambda image: _encode(_grey16(image), "PNG")),
    "alpha": (".png", lambda image: _encode(image.convert("RGBA"), "PNG")),
    "gif": (".gif", lambda image: _encode(image, "GIF")),
}


def write_domainnet(root: Path, train: int = 6, test: int = 3, damage: Iterable[str] = ()) -> None:
    """DomainNet in miniature: six domains of three classes (labels 0 to 2), and a class of label 120.

    Label 120 is beyond FedRA's `num_classes=100`, and its images are not there: nothing may touch them.

    Args:
        root: Folder to fill with {domain}/{class}/image and splits/{domain}_{train|test}.txt.
        train: Training images per class and domain.
        test: Test images per class and domain.
        damage: Of `DAMAGE`: each is done to one of the last training images of the first domain's first class.
    """
    lists = _write_tree(root, "", DOMAINNET, ("aircraft_carrier", "bicycle", "hot_air_balloon"), train, test)
    _spoil(root, lists["clipart", "train"][:train], damage)
    for (domain, split), lines in lists.items():
        absent = f"{domain}/zebra/{domain}_345_000001.jpg"
        _write_list(root / "splits" / f"{domain}_{split}.txt", [*lines, (absent, 120)])


def write_nicopp(
    root: Path, prefix: str = "NICO_DG/", train: int = 6, test: int = 3, damage: Iterable[str] = ()
) -> None:
    """NICO++ in miniature: six domains of three classes, whose labels are not in alphabetical order.

    `hot air balloon` is 0, `aircraft carrier` 1, `bicycle` 2.

    Args:
        root: Folder to fill with NICO_DG/{domain}/{class}/image and NICO_DG_official/{domain}_{train|test}.txt.
        prefix: How paths in the lists begin: `NICO_DG/`, or nothing, which begins them with the domain.
        train: Training images per class and domain.
        test: Test images per class and domain.
        damage: Of `DAMAGE`: each is done to one of the last training images of the first domain's first class.
    """
    classes = ("hot air balloon", "aircraft carrier", "bicycle")
    lists = _write_tree(root, "NICO_DG/", NICOPP, classes, train, test)
    _spoil(root, lists["autumn", "train"][:train], damage)
    for (domain, split), lines in lists.items():
        named = [(prefix + path.removeprefix("NICO_DG/"), label) for path, label in lines]
        _write_list(root / "NICO_DG_official" / f"{domain}_{split}.txt", named)


def write_domain_folder(root: Path, images: int = 10, damage: Iterable[str] = ()) -> None:
    """A folder like PACS: four domains of three classes, {domain}/{class}/image, without lists.

    Args:
        root: Folder to fill.
        images: Images per class and domain.
        damage: Of `DAMAGE`, without missing: each is done to one of the last images of the first domain's first class.
    """
    lists = _write_tree(root, "", ("art painting", "cartoon", "photo", "sketch"), CLASSES, images, 0)
    _spoil(root, lists["art painting", "train"][:images], damage)


Listed = list[tuple[str, int]]


def _write_tree(
    root: Path, prefix: str, domains: Sequence[str], classes: Sequence[str], train: int, test: int
) -> dict[tuple[str, str], Listed]:
    """Write images of all kinds in turn; gives paths and labels of every domain and split."""
    rng = np.random.default_rng(0)
    kinds = list(KINDS.values())
    lists: dict[tuple[str, str], Listed] = {(domain, split): [] for domain in domains for split in ("train", "test")}
    for number, domain in enumerate(domains):
        for label, name in enumerate(classes):
            folder = root / prefix / domain / name
            folder.mkdir(parents=True)
            for copy in range(train + test):
                suffix, encode = kinds[copy % len(kinds)]
                file = f"{domain}_{label + 1:03}_{copy + 1:06}{suffix}"
                (folder / file).write_bytes(encode(draw_shape(label, number, rng)))
                lists[domain, "train" if copy < train else "test"].append((f"{prefix}{domain}/{name}/{file}", label))
    return lists


def _write_list(file: Path, lines: Listed) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{path} {label}\n" for path, label in lines))


def _spoil(root: Path, lines: Listed, damage: Iterable[str]) -> None:
    for (path, _), way in zip(reversed(lines), damage, strict=False):
        file = root / path
        if way == "truncated":
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2])
        elif way == "text":
            file.write_text("not an image")
        else:
            file.unlink()
