"""Pages of real runs, as they are written and as a browser shows them."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import shipped_method

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.report.facts import Facts, read
from fedra_ray.report.page import FILE, render
from fedra_ray.run_dir.folder import Folder

CHROMIUM = shutil.which("chromium")
_VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page: their names and attributes, the text of every one, and whether they are balanced."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def within(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def page(fedra_run: str) -> Page:
    """The page that a run has left."""
    return Page((Path(fedra_run) / FILE).read_text())


def test_the_page_opens_with_the_result(page: Page) -> None:
    assert page.open == []
    (heading,) = page.within("h1")
    assert re.fullmatch(
        r"FedRA reached [\d.]+\u00a0% mean test accuracy over 3 domains of shapes after 2 rounds\.", heading
    )
    assert page.within("h2") == ["Accuracy", "Who held which layer", "Cost", "How to repeat it"]


def test_it_tells_accuracy_cost_and_configuration(page: Page, facts: Facts) -> None:
    heads = page.within("th")
    assert heads[:7] == ["domain", "top-1 accuracy", "top-5", "loss", "examples", "macro F1", "Matthews"]
    assert heads[7:] == ["dark", "light", "noisy", "mean"]
    for values in facts.metrics.values():
        assert {f"{value:.3f}" for value in values.values()} <= set(page.within("td"))
    for accuracy in (*facts.accuracy.values(), facts.mean):
        assert f"{100 * accuracy:.1f}\u00a0%" in page.within("td")
    assert {"Sent by clients", "Updates dropped", "Images skipped"} <= set(page.within("dt"))
    assert "Simulated time" not in page.within("dt")
    assert facts.config.strip() in page.within("code")


def test_it_is_accessible_and_needs_nothing_else(page: Page) -> None:
    names = [name for name, _ in page.elements]
    assert page.elements[0] == ("html", {"lang": "en"})
    assert not {"script", "link", "img", "iframe"} & set(names)
    metas = {attributes.get("name") or attributes.get("http-equiv"): attributes for _, attributes in page.elements}
    assert metas["Content-Security-Policy"]["content"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
    assert "width=device-width" in (metas["viewport"]["content"] or "")
    assert all(attributes.get("scope") in ("col", "row") for name, attributes in page.elements if name == "th")
    drawings = [attributes for _, attributes in page.elements if attributes.get("role") == "img"]
    assert len(drawings) == names.count("svg") == 4
    assert all(attributes["aria-label"] for attributes in drawings)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.elements:
        for link in ("href", "src", "xlink:href"):
            assert (attributes.get(link) or "#").startswith(("#", "data:"))


def test_names_from_data_are_text(hostile_run: str, script: str) -> None:
    found = Page((Path(hostile_run) / FILE).read_text())
    assert not {"script", "b"} & {name for name, _ in found.elements}
    assert script in found.within("th")
    (heading,) = found.within("h1")
    assert heading.startswith("fedra&co reached")
    assert "of <b>shapes</b> after" in heading


def test_the_page_of_several_runs_has_a_row_each(facts: Facts, hostile_run: str) -> None:
    settings = facts.settings | {"seed": 1}
    runs = [facts, replace(facts, seed=1, settings=settings, mean=0.9), read(Folder(hostile_run))]
    found = Page(render(runs))
    heads = found.within("th")
    assert {"FedRA", "seed 0", "seed 1", "fedra&co", "dark"} <= set(heads)
    assert any("±" in cell for cell in found.within("td"))
    content = render(runs)
    rows = re.findall(r"<tr.*?</tr>", content, re.DOTALL)
    (other,) = (row for row in rows if "fedra&amp;co" in row and "<td></td>" in row and "\u00a0%" in row)
    assert other.count("<td></td>") == 1  # the domain `dark`, which its data lacks


def test_a_head_alone_has_no_picture_of_layers(make_run: Callable[..., str]) -> None:
    def change(config: ExperimentConfig) -> None:
        config.method = shipped_method("headonly")

    found = Page((Path(make_run(change)) / FILE).read_text())
    assert [name for name, _ in found.elements].count("svg") == 2
    assert any("only the classification head was trained" in text for text in found.within("p"))


def test_a_run_without_a_valid_update_has_a_page(make_run: Callable[..., str]) -> None:
    def change(config: ExperimentConfig) -> None:
        config.aggregation.max_norm, config.fleet.devices = 1e-9, ["phone"]

    found = Page((Path(make_run(change)) / FILE).read_text())
    assert "Simulated time" in found.within("dt")
    assert "clients 0 (2), 1 (2), 2 (2)" in found.within("small")


def test_the_page_of_a_long_run_is_small(facts: Facts) -> None:
    rounds = 5000
    numbers = np.arange(1, rounds + 1, dtype=np.int32)
    scores = [row | {"round": number} for number in numbers.tolist() for row in facts.scores[:3]]
    held = np.random.default_rng(0).integers(0, 4, (rounds, 12), dtype=np.int32)
    shape = {"holders": held, "evaluated": list(range(12))}
    endless = replace(facts, numbers=numbers, losses=1 / numbers, scores=scores, rounds=rounds, **shape)
    assert len(render([endless])) < 200_000


def browse(page: Path, folder: Path, *options: str) -> str:
    """Open a page in a browser without a window; returns what was printed, console messages included."""
    command = [
        *(CHROMIUM or "", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()),
    ]
    browser = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        return browser.communicate()[0]
    finally:
        if browser.poll() is None:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize(("scheme", "dark"), [("0", True), ("1", False)])
def test_a_browser_shows_the_page_without_an_error(hostile_run: str, tmp_path: Path, scheme: str, dark: bool) -> None:
    shot = tmp_path / "page.png"
    options = ("--window-size=500,900", f"--blink-settings=preferredColorScheme={scheme}")
    printed = browse(Path(hostile_run) / FILE, tmp_path, f"--screenshot={shot}", *options)
    assert "CONSOLE" not in printed
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert (np.median(pixels) < 60) == dark
    assert pixels.min() < 60
    assert pixels.max() > 200


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_shows_hostile_names_as_text(hostile_run: str, script: str, tmp_path: Path) -> None:
    shown = browse(Path(hostile_run) / FILE, tmp_path, "--dump-dom")
    assert "CONSOLE" not in shown
    assert "<script" not in shown
    assert f'<th scope="row">{script.replace("<", "&lt;").replace(">", "&gt;")}</th>' in shown
