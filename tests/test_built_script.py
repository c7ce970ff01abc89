"""How a script that build.py made behaves when it is run: anywhere, at once, in workers, among damaged files."""

import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.trees import WORK, built, held


def test_runs_from_a_read_only_folder_and_another_current_folder(tree, run_script, tmp_path):
    place = tmp_path / "read only"
    place.mkdir()
    script = Path(shutil.copy(built(tree()), place / "script.py"))
    script.chmod(0o400)
    place.chmod(0o500)
    try:
        code, out, err = run_script(script, "a", "b c")
        assert (code, err) == (0, "")
        assert out.split() == ["42", "baseline", held(script)[1]["code"]["digest"], "a", "b", "c"]
        assert [file.name for file in place.iterdir()] == ["script.py"]
    finally:
        place.chmod(0o700)


@pytest.mark.parametrize("code", [0, 1, 2, 7])
def test_exit_code(tree, run_script, code):
    assert run_script(built(tree(main=f"def main(argv, bundle=None):\n    return {code}\n")))[0] == code


def test_traceback_names_the_source_and_its_line(tree, run_script):
    code, _, err = run_script(built(tree(work="def answer():\n    # why\n    return 1 // 0  # here\n")))
    assert code == 1
    assert 'src/work.py", line 3, in answer\n    return 1 // 0  # here\n' in err


WORKERS = '''from dataclasses import dataclass
import inspect, multiprocessing, pickle, subprocess, sys

@dataclass(frozen=True)
class Point:
    """A point."""
    x: int

def double(point):
    return Point(point.x * 2)

def main(argv, bundle=None):
    assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
    assert "A point." in inspect.getsource(Point)
    with multiprocessing.get_context(argv[0]).Pool(2) as pool:
        print(pool.map(double, [Point(1), Point(2)]))
    child = "import src.main; print('child')"
    print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout)
    return 0
'''


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_workers_and_pickles(tree, run_script, method):
    code, out, err = run_script(built(tree(main=WORKERS)), method)
    assert (code, err) == (0, "")
    assert out.split("\n")[:2] == ["[Point(x=2), Point(x=4)]", "child"]


def test_another_src_on_the_path_does_not_win(tree, run_script, tmp_path):
    other = tmp_path / "foreign"
    (other / "src").mkdir(parents=True)
    (other / "src/__init__.py").write_text("raise RuntimeError('foreign')")
    assert run_script(built(tree()), PYTHONPATH=str(other))[0] == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_concurrent_starts(tree, run_script, damaged):
    script = built(tree())
    if damaged:
        run_script(script)
        next(run_script.temporary.glob("*/src/work.py")).write_text("answer = lambda: 66")
    processes = [run_script.popen(script) for _ in range(8)]
    outs = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, out[:3]) for process, (out, _) in zip(processes, outs, strict=True)] == [
        (0, "42 ")
    ] * 8
    assert len(list(run_script.temporary.iterdir())) == 1


def test_damaged_folder_is_mended_and_a_right_one_left_alone(tree, run_script):
    script = built(tree())
    run_script(script)
    (folder,) = run_script.temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    work, before = folder / "src/work.py", (folder / "src/main.py").stat()
    work.write_text("def answer():\n    return 66\n")
    (folder / "torch.py").write_text("raise RuntimeError('foreign')")
    (folder / "src/gone.py").write_text("")
    assert run_script(script)[1].startswith("42 ")
    assert work.read_text() == WORK
    assert not (folder / "torch.py").exists()
    assert not (folder / "src/gone.py").exists()
    assert (folder / "src/main.py").stat().st_mtime_ns == before.st_mtime_ns
    work.unlink()
    assert run_script(script)[1].startswith("42 ")
    assert len(list(run_script.temporary.iterdir())) == 1


def test_code_that_was_compiled_from_a_damaged_file_goes_with_it(tree, run_script):
    script = built(tree())
    run_script(script)
    work = next(run_script.temporary.glob("*/src/work.py"))
    work.write_text(WORK.replace("42", "66"))
    py_compile.compile(str(work), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert run_script(script)[1].startswith("42 ")


def test_a_second_start_in_the_middle_of_the_first_one(tree, tmp_path, monkeypatch):
    """Each file is written while a whole other start takes place just before its renaming."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    scope = {"__name__": "__mp_main__"}
    exec(built(tree()).read_text(encoding="utf-8"), scope)
    folder, replace = scope["FOLDER"], os.replace
    shutil.rmtree(folder / "src")

    def replace_after_another_start(old, new):
        monkeypatch.setattr(os, "replace", replace)
        scope["write_sources"](folder)
        monkeypatch.setattr(os, "replace", replace_after_another_start)
        replace(old, new)

    monkeypatch.setattr(os, "replace", replace_after_another_start)
    scope["write_sources"](folder)
    assert (folder / "src/work.py").read_text() == WORK


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_folder_that_others_could_write_to_is_not_used(tree, run_script, tmp_path, trap):
    script = built(tree())
    folder = run_script.temporary / f"fer2013-{os.getuid()}-{held(script)[1]['code']['digest']}"
    if trap == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif trap == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.write_text("")
    code, out, _ = run_script(script)
    assert (code, out[:3]) == (0, "42 ")
    assert not list(folder.glob("*"))


CONNECTION = "/home/me/.local/share/jupyter/runtime/kernel-0a1b.json"
CELLS = {
    "ipykernel": ["/site-packages/ipykernel_launcher.py", "-f", CONNECTION],
    "kaggle": ["/site-packages/ipykernel_launcher.py", "-f", "/tmp/tmp1.json", "--HistoryManager.hist_file=:memory:"],
    "colab": ["/site-packages/colab_kernel_launcher.py", "-f", CONNECTION],
    "vscode": ["/site-packages/ipykernel_launcher.py", "--shell=9007", '--transport="tcp"', f"--f={CONNECTION}"],
    "runpy": ["fer2013.py", "-f", CONNECTION],  # what runs a file sets the first argument alone
}
CELL = """import sys, types
from pathlib import Path
script, *sys.argv = sys.argv[1:]
sys.modules["__main__"] = cell = types.ModuleType("__main__")
exec(Path(script).read_text(encoding="utf-8"), cell.__dict__)
print("the next line of the cell")
"""


@pytest.fixture
def run_cell(run_script, tmp_path):
    """Returns a function that runs a built script as a cell does: without a file, in a process with these arguments."""
    (tmp_path / "cell.py").write_text(CELL)
    return lambda script, arguments: run_script(tmp_path / "cell.py", str(script), *arguments)


@pytest.mark.parametrize("arguments", CELLS.values(), ids=CELLS)
def test_a_cell_of_a_notebook_runs_the_bare_command_and_ends_without_an_exit(tree, run_cell, arguments):
    script = built(tree())
    code, out, err = run_cell(script, arguments)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"42 baseline {held(script)[1]['code']['digest']}", "the next line of the cell"]


def test_a_cell_whose_run_fails_ends_with_its_exit_code(tree, run_cell):
    script = built(tree(main="def main(argv, bundle=None):\n    return 2\n"))
    code, out, _ = run_cell(script, CELLS["ipykernel"])
    assert (code, out) == (2, "")


def test_a_second_cell_runs_its_own_version_of_the_script(tree, run_script, tmp_path):
    first = Path(shutil.copy(built(tree()), tmp_path / "first.py"))
    second = built(tree(work=WORK.replace("42", "43")))
    cells = CELL.splitlines()[:-2] + [f"exec(Path({str(s)!r}).read_text(), cell.__dict__)" for s in (first, second)]
    (tmp_path / "cells.py").write_text("\n".join(cells))
    code, out, err = run_script(tmp_path / "cells.py", "-", *CELLS["ipykernel"])
    assert (code, err) == (0, "") and [line.split()[0] for line in out.splitlines()] == ["42", "43"]


@pytest.mark.parametrize("arguments", [["-f", "x"], ["--file=x.json"], ["x.json"], ["kernel-1.json", "-f"]])
def test_other_arguments_are_the_users(tree, run_script, arguments):
    assert run_script(built(tree()), *arguments)[1].split()[3:] == arguments


def test_a_user_without_a_name_can_start_it(tree, nameless):
    done = subprocess.run([sys.executable, built(tree())], env=nameless, capture_output=True, text=True)
    assert done.stdout.startswith("42 "), done.stderr
