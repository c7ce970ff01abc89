"""The structure of the code, read from its imports: who may know whom, no circles, few levels, small functions.

docs/architecture.md explains it.
"""

import ast
import re
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAX_LEVELS, MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 8, 450, 60, 6
# The packages of src/ and the files beside them that know packages, with the packages that each may import. The other
# files of src/ are helpers: all may import them, and they import helpers only.
MAY_IMPORT = {
    "data": set(),
    "models": set(),
    "train": {"data", "models"},
    "trackers": set(),
    "submit": {"data"},
    "ensemble": {"data", "submit"},
    "recipe_table": {"models"},
    "report": {"data", "models", "submit", "ensemble"},
    "run": {"data", "models", "train", "trackers", "submit", "ensemble", "report"},
    "main": {"data", "models", "train", "trackers", "submit", "ensemble", "report", "run", "recipe_table"},
}
FILES = sorted(chain(ROOT.glob("*.py"), *(ROOT.glob(f"{folder}/**/*.py") for folder in ("src", "remote", "tools"))))
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def module_of(file: Path) -> str:
    """src/data/split.py as src.data.split, a package's __init__.py as the package."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}
BUNDLED = [module for module in MODULES if module.startswith("src.") and module != "src.__main__"]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of the project that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in submodules}
    return frozenset(found & MODULES.keys()) - {module}


def place_of(module: str) -> str:
    """The package or the file of src/ that a module belongs to."""
    return module.split(".")[1]


@pytest.mark.parametrize("module", BUNDLED)
def test_a_module_imports_only_what_its_place_may_know(module):
    place = place_of(module)
    for name in imports_of(module):
        assert name in BUNDLED, f"{module}: the bundle has no {name}"
        helper = place_of(name) not in MAY_IMPORT
        assert helper or place_of(name) in {place, *MAY_IMPORT.get(place, ())}, f"{module} must not know {name}"


@pytest.mark.parametrize("module", BUNDLED)
def test_packages_that_most_commands_do_without_are_imported_where_they_are_used(module):
    """Each takes seconds to import."""
    top = [node for node in tree_of(module).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    slow = {"matplotlib", "tensorboard", "timm", "torchvision", "wandb"}
    assert slow.isdisjoint(name.split(".")[0] for name in names)


def longest_chains(graph: dict[str, set[str]]) -> dict[str, list[str]]:
    """For each node its longest chain of imports; fails where a chain returns to its start."""
    chains: dict[str, list[str]] = {}

    def follow(node: str, above: list[str]) -> list[str]:
        assert node not in above, f"circle: {' → '.join([*above[above.index(node) :], node])}"
        if node not in chains:
            below = [follow(other, [*above, node]) for other in sorted(graph[node])]
            chains[node] = [node, *max(below, key=len, default=[])]
        return chains[node]

    for node in graph:
        follow(node, [])
    return chains


def test_modules_import_in_no_circle():
    longest_chains({module: set(imports_of(module)) for module in MODULES})


def test_packages_and_files_of_src_lie_on_at_most_eight_levels_without_a_circle():
    graph = {place_of(module): set() for module in BUNDLED}
    for module in BUNDLED:
        graph[place_of(module)] |= {place_of(name) for name in imports_of(module)} - {place_of(module)}
    longest = max(longest_chains(graph).values(), key=len)
    assert len(longest) <= MAX_LEVELS, " → ".join(longest)


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_small(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            taken = [argument.arg for argument in every if argument.arg not in ("self", "cls")]
            lines = node.end_lineno - node.lineno + 1
            assert len(taken) <= MAX_PARAMETERS, f"line {node.lineno}: {node.name} takes {len(taken)} parameters"
            assert lines <= MAX_FUNCTION_LINES, f"line {node.lineno}: {node.name} has {lines} lines"


def test_the_page_names_every_file_but_new_networks_and_no_other():
    named = re.findall(r"^\| `((?:(?:src|remote|tools)/)?[\w/]+\.py)` \|", PAGE, re.MULTILINE)
    there = {file.relative_to(ROOT).as_posix() for file in FILES if file.name != "__init__.py"}
    assert len(set(named)) == len(named) and set(named) <= there
    assert not [name for name in there - set(named) if not name.startswith("src/models/")]
