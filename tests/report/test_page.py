"""A page is one HTML file that needs nothing beside it, says what it was given, and runs nothing that a name holds."""

import re
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from src.report.faces import Face, FaceGrid
from src.report.figures import draw
from src.report.numbers import counted, duration, percent, points, ratio
from src.report.page import Notice, Page, Section, Table, Terms, write_page
from tests.support.html import Elements

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
IMAGE = np.arange(48 * 48, dtype=np.uint32).reshape(48, 48).astype(np.uint8)


def page_of(*blocks) -> Page:
    return Page("Title", "Summary", [Section("Heading", blocks)])


def written(folder, page: Page) -> Elements:
    write_page(page, folder / "page.html")
    return Elements((folder / "page.html").read_text("utf-8"))


def test_text_that_looks_like_html_stays_text_wherever_it_stands(tmp_path):
    face = Face(IMAGE, (EVIL,))
    curve = draw("curve", EVIL, lambda axes: axes.set(xlabel=EVIL, ylabel="$\\broken{"))
    blocks = [EVIL, Notice(EVIL), Terms({EVIL: EVIL}), Table((EVIL,), [(EVIL,), (face,)], EVIL), curve]
    blocks.append(FaceGrid("grid", [face], EVIL))
    page = written(tmp_path, Page(EVIL, EVIL, [Section(EVIL, blocks)]))
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "base")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all(attributes["src"].startswith("data:image/png") for tag, attributes in page.elements if tag == "img")
    assert page.text.count(EVIL) >= 12 and "$\\broken{" in page.text


def test_nothing_in_a_page_leads_out_of_it(tmp_path):
    curve = draw("curve", "A curve.", lambda axes: axes.plot([1, 2], marker="o"))
    page = written(tmp_path, page_of(curve, FaceGrid("grid", [Face(IMAGE)]), Table(("a",), [(1,)])))
    links = [
        value for _, item in page.elements for name, value in item.items() if name in ("href", "src", "xlink:href")
    ]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    (policy,) = [item["content"] for _, item in page.elements if item.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    targets = {item["id"] for _, item in page.elements if "id" in item}
    assert {link[1:] for link in links if link.startswith("#")} <= targets


def test_each_picture_is_a_png_file_too(tmp_path):
    curve = draw("curve", "A curve.", lambda axes: axes.plot([1, 2]), size=(4, 2))
    written(tmp_path, page_of(curve, FaceGrid("grid", [Face(IMAGE, ("Fear", "1.00 %"))] * 9), FaceGrid("none", [])))
    sizes = {file.name: Image.open(file).size for file in (tmp_path / "figures").iterdir()}
    assert sizes["curve.png"] == (600, 300) and sizes["grid.png"] == (8 * 108 + 12, 2 * 136 + 12) and len(sizes) == 3


def test_a_face_is_embedded_to_the_pixel():
    colour = np.stack([IMAGE, IMAGE.T, IMAGE], -1)
    for image in (IMAGE, colour):
        with Image.open(urlopen(Face(image).source)) as found:
            assert np.array_equal(np.asarray(found), image)


def test_the_text_of_a_figure_has_the_pages_colour_and_stays_text():
    svg = draw("curve", "A curve.", lambda axes: axes.set(xlabel="epoch", ylabel="accuracy (%)")).svg
    assert "currentColor" in svg and ">accuracy (%)<" in svg and not re.search(r"#0{6}|#010203", svg)


def test_a_figure_is_the_same_each_time_and_leaves_no_style_behind():
    import matplotlib

    before = dict(matplotlib.rcParams)
    one, two = (draw("curve", "A curve.", lambda axes: axes.plot([1, 2], marker="o")) for _ in range(2))
    assert one == two and dict(matplotlib.rcParams) == before


def test_two_figures_on_a_page_share_no_ids(tmp_path):
    curves = [draw(name, "A curve.", lambda axes: axes.plot([1, 2], marker="o")) for name in ("one", "two")]
    ids = [item["id"] for _, item in written(tmp_path, page_of(*curves)).elements if "id" in item]
    assert len(ids) == len(set(ids)) > 2


@pytest.mark.parametrize("names", [("a", "a"), ("../a", "b")])
def test_pictures_with_one_name_or_the_name_of_a_path_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="different names"):
        write_page(page_of(*(FaceGrid(name, []) for name in names)), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_columns_of_numbers_are_set_to_the_right_and_whole_numbers_have_commas(tmp_path):
    rows = [("resnet18", 12345, "66.19 %", "+1.20", "none"), ("vit", 7, "–", "−0.30", "3")]
    page = written(tmp_path, page_of(Table(("member", "rows", "accuracy", "gain", "note"), rows)))
    heads = [item.get("class") for tag, item in page.elements if tag == "th" and item["scope"] == "col"]
    assert heads == [None, "right", "right", "right", None] and "12,345" in page.text


def test_a_name_that_is_not_utf_8_is_written_with_an_escape(tmp_path):
    assert "caf\\udce9" in written(tmp_path, page_of("caf\udce9")).text


def test_numbers_have_one_form():
    assert [percent(0.66194), percent(float("nan")), points(-0.0123), ratio(16.548)] == [
        "66.19 %",
        "–",
        "-1.23",
        "16.55:1",
    ]
    assert [counted(1, "group"), counted(1236, "row")] == ["1 group", "1,236 rows"]
    assert [duration(s) for s in (48.31, 59.99, 1510, 11100)] == ["48.3 s", "1 min 00 s", "25 min 10 s", "3 h 05 min"]
