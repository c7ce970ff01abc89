"""Starts a headless Chromium that is installed on this machine; playwright drives it and downloads none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str:
    """The program that CHROMIUM names, else the first of NAMES that is installed. Raises LookupError."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise LookupError("no Chromium is installed (Debian: apt-get install chromium), and CHROMIUM does not name one")
    return program


@contextmanager
def launched(program: str) -> Iterator:
    """A playwright Browser; it ends with the block."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if hasattr(os, "getuid") and os.getuid() == 0 else []  # Chromium has none as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()
