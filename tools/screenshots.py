"""Takes the screenshots of docs/images/ from pages of synthetic faces: never a face of the data set.

    python -m tools.screenshots        needs a Chromium; writes docs/images/*.png

SHOTS lists them. Each begins at a section's heading, or at the top of the page.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from src import config, recipes
from src.data import synthetic
from src.report.explore import explore
from src.run.context import RunRequest
from src.run.record import Code
from src.run.run import run
from tools.browser import find_chromium, launched

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"


@dataclass(frozen=True)
class Shot:
    """A part of a page. page: its path below the folder of `make_pages`; width and height in CSS pixels."""

    name: str
    page: str
    heading: str
    width: int
    height: int
    scheme: str


SHOTS = (
    Shot("explore", "explore/explore.html", "Samples", 800, 1000, "light"),
    Shot("report", "run/report.html", "Confusion matrices", 800, 755, "light"),
    Shot("report-phone", "run/report.html", "Right and wrong", 390, 780, "dark"),
)


def make_pages(folder: Path) -> None:
    """Makes the pages that SHOTS names, from synthetic faces."""
    synthetic.write_files(folder / "faces", train=3000, test=600)
    explore(folder / "faces", folder / "explore", recipes.get("baseline"))
    recipe = config.override(recipes.get("quick"), ["epochs=2", "max_train_rows=1000"])
    run(RunRequest(recipe, Code("0" * 16, "", False), folder / "faces", folder / "run", "cpu"))


def take(browser, shot: Shot, page: Path, target: Path) -> None:
    """Writes one screenshot. Raises ValueError where the page has no such heading."""
    window = browser.new_context(viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme)
    try:
        tab = window.new_page()
        tab.goto(page.resolve().as_uri())
        heading = tab.locator("h2", has_text=shot.heading)
        if not heading.count():
            raise ValueError(f"{page}: there is no section {shot.heading}")
        top = max(0, heading.first.bounding_box()["y"] - 8)
        clip = {"x": 0, "y": top, "width": shot.width, "height": shot.height}
        tab.screenshot(path=str(target), clip=clip, full_page=True)
    finally:
        window.close()


def main(arguments: list[str] | None = None) -> int:
    """Takes all screenshots; returns 0, or 2 where no Chromium is installed."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="where (default: docs/images)")
    output = parser.parse_args(arguments).output
    try:
        program = find_chromium()
    except LookupError as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, launched(program) as browser:
        make_pages(Path(folder))
        for shot in SHOTS:
            take(browser, shot, Path(folder) / shot.page, output / f"{shot.name}.png")
            print(f"{output / shot.name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
