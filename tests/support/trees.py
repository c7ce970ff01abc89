"""Small trees for build.py, and their scripts started in a process of their own: fixtures of two test files."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import build
from tests.support.metadata import write_metadata

ROOT = Path(build.__file__).resolve().parent
MAIN = """def main(argv, bundle=None):
    from src.work import answer

    print(answer(), bundle["recipe"], bundle["code"]["digest"], *argv)
    return 0
"""
WORK = "def answer():\n    return 42\n"


@pytest.fixture
def tree(tmp_path, no_account):
    """Returns a function that makes a tree of the given files, with a right kernel-metadata.json."""

    def make(**files):
        root = tmp_path / "tree"
        shutil.rmtree(root, ignore_errors=True)
        given = files if "main" in files else {"main": MAIN, "work": WORK} | files
        for path, content in given.items():
            file = root / "src" / f"{path.replace('__0__', '__init__')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        write_metadata(root)
        return root

    return make


@pytest.fixture
def run_script(tmp_path):
    """Returns a function that starts a built script with a temporary folder of its own, away from the tree."""
    temporary, elsewhere = Path(tempfile.mkdtemp()), tmp_path / "elsewhere"  # sockets need short paths
    elsewhere.mkdir()

    def popen(script, *arguments, **environment):
        env = {**os.environ, "TMPDIR": str(temporary), **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, script, *arguments], cwd=elsewhere, env=env, **pipes)

    def run(script, *arguments, **environment):
        process = popen(script, *arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    run.popen, run.temporary = popen, temporary
    yield run
    shutil.rmtree(temporary, ignore_errors=True)


def built(root, *arguments):
    assert build.main([*arguments], root) == 0
    return root / build.OUTPUT


def held(script):
    """The sources in a built script, by a way of their own: the part before the start is run."""
    scope = {}
    exec(script.read_text(encoding="utf-8").split("# ==== start:")[0], scope)
    sources = {path: text[1:].encode() for path, text in scope["SOURCES"].items()}
    return sources, {"code": scope["CODE"], "recipe": scope["RECIPE"], "overrides": scope["OVERRIDES"]}
