"""A screenshot begins at its heading and has its size; without a Chromium the command says what to install."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from src.report.page import Page, Section, write_page
from tools import screenshots
from tools.screenshots import SHOTS, Shot, take

SHOT = Shot("one", "page.html", "Second", 300, 200, "dark")


def test_a_screenshot_begins_at_its_heading_in_its_colours(browser, tmp_path):
    write_page(Page("A", "B", [Section("First", ["text"] * 40), Section("Second", ["x"] * 40)]), tmp_path / "page.html")
    pixels = {}
    for shot in (SHOT, replace(SHOT, heading="First"), replace(SHOT, scheme="light")):
        take(browser, shot, tmp_path / "page.html", tmp_path / "one.png")
        pixels[shot] = np.asarray(Image.open(tmp_path / "one.png").convert("L"))
        assert pixels[shot].shape == (200, 300)
    dark, other, light = pixels.values()
    assert np.median(dark) < 60 < 200 < np.median(light) and not np.array_equal(dark, other)
    with pytest.raises(ValueError, match="no section Third"):
        take(browser, replace(SHOT, heading="Third"), tmp_path / "page.html", tmp_path / "one.png")


def test_without_a_chromium_the_command_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert screenshots.main(["--output", str(tmp_path / "images")]) == 2
    assert "apt-get install chromium" in capsys.readouterr().err and not (tmp_path / "images").exists()


def test_each_screenshot_has_a_name_of_its_own():
    assert len({shot.name for shot in SHOTS}) == len(SHOTS)
