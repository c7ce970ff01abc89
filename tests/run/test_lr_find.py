"""`lr-find` suggests a rate in a line and on a page, and changes no run."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from src.main import main
from tests.conftest import fake_bundle
from tests.support.browser import check_page
from tests.support.html import Elements


def lr_find(faces: Path, output: Path, *more: str) -> int:
    command = ["lr-find", "--recipe", "quick", "--rows", "150", "--set", "batch_size=8", "--steps", "50"]
    return main([*command, "--input", str(faces), "--output", str(output), "--device", "cpu", *more], fake_bundle())


@pytest.fixture(scope="module")
def found(faces, tmp_path_factory) -> tuple[str, Path]:
    """What the command says, and its page."""
    said, output = io.StringIO(), tmp_path_factory.mktemp("lr")
    (output / "figures").mkdir()  # of an earlier page
    with contextlib.redirect_stdout(said):
        assert lr_find(faces, output, "--member", "compact_cnn") == 0
    return said.getvalue(), output / "lr-find.html"


def test_a_rate_is_suggested_with_its_reason_and_a_picture(found, browser):
    said, page = found
    assert re.search(r"^suggested for compact_cnn: lr=\S+ \(.+\)$", said, re.M), said
    assert all(len(line) <= 79 or "/" in line for line in said.splitlines())
    assert (page.parent / "figures" / "lr-find.png").exists() and sorted(page.parent.iterdir())[1:] == [page]
    assert Elements(page.read_text("utf-8")).row("network") == ["compact_cnn"]
    check_page(browser, page)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--member", "nobody"], "--member nobody: recipe quick has compact_cnn, simple_cnn_v2"),
        (["--steps", "3"], "--steps 3: give 50 to 10,000"),
    ],
)
def test_a_wrong_option_is_told(faces, tmp_path, capsys, more, words):
    assert lr_find(faces, tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_folder_of_a_run_stays_as_it_is(faces, tmp_path, capsys):
    (tmp_path / "run.json").write_text("{}")
    assert lr_find(faces, tmp_path) == 2
    error = capsys.readouterr().err
    assert "holds a run, whose files must stay" in error and len(error.strip().splitlines()) <= 2
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_an_output_that_is_a_file_is_told(faces, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert lr_find(faces, tmp_path / "file") == 2
    assert "is a file; give a folder as --output" in capsys.readouterr().err
