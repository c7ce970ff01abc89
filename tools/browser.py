"""Starts a headless Chromium that is installed on this machine; playwright drives it and downloads none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium asks its makers for accounts and updates by itself, also through a proxy that the environment names.
OFFLINE = ["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND"]


def find_chromium() -> str:
    """The program that CHROMIUM names, else the first of NAMES that is installed. Raises LookupError."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise LookupError("no Chromium is installed (Debian: apt-get install chromium), and CHROMIUM does not name one")
    return program


@contextmanager
def launched(program: str) -> Iterator:
    """A playwright Browser that reaches no host, for pages that are files; it ends with the block."""
    from playwright.sync_api import sync_playwright

    arguments = OFFLINE + (["--no-sandbox"] if hasattr(os, "getuid") and os.getuid() == 0 else [])  # none as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()
