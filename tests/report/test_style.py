from xml.etree import ElementTree

from fedra_ray.report.style import COLOURS, INK, drawing, look, png, svg, themed


def draw(label: str) -> bytes:
    with drawing(3, 2) as (figure, (axes,)):
        axes.plot([1, 2], label=label)
        axes.legend()
    return svg(figure, "here")


def test_names_from_data_are_plain_text() -> None:
    drawn = draw("<script>$x^2$ & co")
    texts = [element.text for element in ElementTree.fromstring(drawn).iter() if element.text]
    assert "<script>$x^2$ & co" in texts


def test_the_same_figure_has_the_same_bytes() -> None:
    assert draw("a") == draw("a")


def test_a_page_gives_the_ink_its_own_colour() -> None:
    page = themed(draw("a"))
    assert page.startswith("<svg")
    assert INK not in page
    assert "currentColor" in page


def test_many_series_look_different_and_ink_can_be_left_to_others() -> None:
    assert len({look(index) for index in range(28)}) == 28
    assert look(len(COLOURS)).colour == INK
    assert INK not in {look(index, COLOURS).colour for index in range(28)}


def test_a_png_is_one() -> None:
    with drawing(2, 2, rows=2) as (figure, axes):
        assert len(axes) == 2
    assert png(figure)[:4] == b"\x89PNG"
