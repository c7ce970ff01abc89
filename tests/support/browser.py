"""Opens a page in headless Chromium and tells what a reader would meet: errors, requests, broken pictures, small text.

Debian's package `chromium` is enough; CHROMIUM names another one. Without a Chromium these tests are skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.browser import find_chromium, launched

WIDTHS, SCHEMES, HEIGHT = (390, 1280), ("light", "dark"), 900
MIN_TEXT, MIN_CONTRAST = 6.5, 4.5  # CSS pixels on a screen of 390; the ratio that WCAG 2.2 asks for (AA)

# Reads from the page: its widths, pictures that did not load, the smallest text of a figure, the worst contrast.
LOOK = """() => {
  const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return /, 0\\)$/.test(colour) ? ground(node.parentElement) : colour;
  };
  const contrast = (node, colour) => {
    const [low, high] = [getComputedStyle(node)[colour], ground(node)].map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const size = (text) => parseFloat(getComputedStyle(text).fontSize)
    * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b);
  const texts = [...document.querySelectorAll("svg text")];
  const onCells = ["rgb(0, 0, 0)", "rgb(255, 255, 255)"];  // of heat maps: black or white by the colour of the cell
  const onGround = texts.filter((text) => !onCells.includes(getComputedStyle(text).fill));
  const words = [...document.querySelectorAll("h1, h2, p, a, th, td, figcaption, dt, dd, .face div")];
  const contrasts = words.map((word) => contrast(word, "color"));
  contrasts.push(...onGround.map((text) => contrast(text, "fill")));
  return {
    width: document.documentElement.scrollWidth,
    broken: [...document.images].filter((i) => !i.complete || !i.naturalWidth).length,
    pictures: document.images.length + document.querySelectorAll("svg").length,
    smallest: Math.min(...texts.map(size), 99),
    contrast: Math.min(...contrasts),
  };
}"""


@dataclass
class Visit:
    """What one visit has met: see LOOK; requests: other addresses than the page's; messages: the console's."""

    width: int = 0
    broken: int = 0
    pictures: int = 0
    smallest: float = 0.0
    contrast: float = 0.0
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium for the tests of one process."""
    try:
        program = find_chromium()
    except LookupError as reason:
        pytest.skip(str(reason))
    with launched(program) as started:
        yield started


def visit(browser, page: Path, width: int, scheme: str) -> Visit:
    """Opens the page in a window of that width."""
    found = Visit()
    window = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    try:
        tab = window.new_page()
        tab.on("console", lambda message: found.messages.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: found.messages.append(f"error: {error}"))
        tab.on("request", lambda request: found.requests.append(request.url))
        tab.goto(page.resolve().as_uri(), wait_until="load")
        found.__dict__.update(tab.evaluate(LOOK))
    finally:
        window.close()
    found.requests = [url for url in found.requests if url != page.resolve().as_uri() and not url.startswith("data:")]
    return found


def check_page(browser, page: Path) -> None:
    """Fails unless the page is sound on a phone and on a screen, light and dark."""
    for width in WIDTHS:
        for scheme in SCHEMES:
            found, where = visit(browser, page, width, scheme), f"{page.name} at {width} pixels, {scheme}"
            assert not found.messages, f"{where}: on the console: {found.messages}"
            assert not found.requests, f"{where}: requests leave the page: {found.requests}"
            assert found.pictures and not found.broken, f"{where}: {found.broken} pictures do not load"
            assert found.width <= width, f"{where}: {found.width} pixels wide, the page scrolls sideways"
            assert found.smallest >= MIN_TEXT, f"{where}: text of {found.smallest:.1f} pixels in a figure"
            assert found.contrast >= MIN_CONTRAST, f"{where}: a contrast of {found.contrast:.2f}"
