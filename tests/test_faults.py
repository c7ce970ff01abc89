"""Every row of docs/faults.md names a test that exists."""

import ast
import re

import pytest

from tests.conftest import ROOT

ROWS = [line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith("| ")][2:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_the_row_has_its_test(row):
    file, name = re.fullmatch(r"`(test_\w+\.py)::(test_\w+)`", row.split("|")[4].strip()).groups()
    (path,) = (ROOT / "tests").rglob(file)
    functions = [node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")]
    assert name in functions


def test_there_are_rows():
    assert len(ROWS) > 20
