"""build.py on small trees: what is bundled, and what is refused."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest

import build
from tests.support.project import build_script
from tests.support.trees import ROOT, WORK, built, held


def refusal(root, capsys, *arguments):
    """The lines of a refused build, which must have written nothing."""
    before = sorted(root.rglob("*"))
    assert build.main([*arguments], root) == 2
    assert sorted(root.rglob("*")) == before
    return capsys.readouterr().err.strip().splitlines()


# What is bundled


NASTY = [
    b"",
    b"x = 1",
    b"\"\"\"doc\"\"\"\nx = '''a'''\n",
    b"x = '''a'''\n# '",
    b'x = """a"""\n# "',
    b"'''a'''\n\"\"\"b\"\"\"\n# '''' \\\\ \\' \\N{DASH} \\x41 '",
    b"'''a'''\n\"\"\"b\"\"\"\n# ''",
    b"# ends in a backslash \\",
    b"x = 1\r\ny = 2\r\n",
    b"x = 1\r\n# '''\"\"\"\r\n'''  \\\\ '''\r\n",
    "# × ± – 😀 \u2028 é e\u0301\n".encode(),
    b"\xef\xbb\xbfx = 1\n",
    b"x = 1\n\x0c\ny = 2\t\n\n\n",
    b"\n\n  \nx = r'\\\\'\n",
]


def test_sources_come_back_byte_for_byte(tree, run_script):
    names = [f"n{i}" for i in range(len(NASTY))]
    root = tree(main=f"import src.{', src.'.join(names)}\n", **dict(zip(names, NASTY, strict=True)))
    script = built(root)
    expected = {"src/__init__.py": b""} | {f"src/{n}.py": (root / f"src/{n}.py").read_bytes() for n in [*names, "main"]}
    assert held(script)[0] == expected
    run_script(script)
    (folder,) = run_script.temporary.iterdir()
    assert {path: (folder / path).read_bytes() for path in expected} == expected


@pytest.mark.parametrize("content", NASTY, ids=range(len(NASTY)))
def test_literals(content):
    text = content.decode()
    assert ast.literal_eval(build.quoted(text)) == "\n" + text


def test_ordinary_sources_stay_raw(tree):
    script = built(tree(work='"""Says."""\nDIGITS = r"\\d+"\n' + WORK))
    assert 'SOURCES["src/work.py"] = r\'\'\'\n"""Says."""\nDIGITS = r"\\d+"\ndef answer' in script.read_text()
    assert "# ==== src/work.py ====" in script.read_text()


def test_all_of_src_dependencies_first(tree):
    root = tree(
        **{
            "main": "import src.a.one\nfrom src.b import two, v\nif x:\n from .c import three\n from src import d\n",
            "a/one": "from ..e import x\n",
            "b/__0__": "v = 1\n",
            "b/two": "from . import four as f\nfrom .five import y\nimport torch.nn\n",
            "b/four": "",
            "b/five": "y = 1\n",
            "c/__0__": "from .three import *\n",
            "c/three": "import src.main\n",
            "d": "from src.c import anything\n",
            "e": "x = 1\n",
            "unreached": "import src.e\n",
            "__main__": "import nonsense\n",
        }
    )
    wanted = "__init__ e a/one b/__init__ b/four b/five b/two c/three c/__init__ d unreached main"
    assert list(held(built(root))[0]) == [f"src/{name}.py" for name in wanted.split()]


def test_the_contents_name_the_line_of_each_section(tree):
    lines = built(tree(), "--set", "a=1").read_text(encoding="utf-8").split("\n")
    listed = [line.split()[1:3] for line in lines if re.match(r"#  +\d+  ", line)]
    assert [name for _, name in listed] == ["src/__init__.py", "src/work.py", "src/main.py", "start"]
    assert all(lines[int(number) - 1].startswith(f"# ==== {name}") for number, name in listed)


def test_two_builds_are_the_same_bytes(tree, tmp_path):
    first = built(tree(e="", d="", work="import src.d, src.e\n" + WORK)).read_bytes()
    moved = tmp_path / "another" / "place"
    shutil.copytree(tmp_path / "tree", moved)
    assert built(moved).read_bytes() == first
    # Another process has other hashes, so an order that comes from a set shows.
    code = f"import build, pathlib, sys; sys.exit(build.main([], pathlib.Path({str(moved)!r})))"
    for seed in "12":
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        assert (moved / build.OUTPUT).read_bytes() == first


def test_digest_is_of_the_sources_alone(tree):
    _, plain = held(built(tree()))
    _, other = held(built(tree(), "--recipe", "big", "--set", "a=1", "b=it's", "--set", 'c="""'))
    _, changed = held(built(tree(work=WORK + "#")))
    assert plain["code"]["digest"] == other["code"]["digest"] != changed["code"]["digest"]
    assert (plain["recipe"], plain["overrides"]) == ("baseline", [])
    assert (other["recipe"], other["overrides"]) == ("big", ["a=1", "b=it's", 'c="""'])


def test_commit_and_dirty_come_from_git(tree, monkeypatch):
    root = tree()
    assert held(built(root))[1]["code"]["commit"] == "unknown"
    git = ["git", "-C", root, "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "src"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    code = held(built(root))[1]["code"]
    assert head.startswith(code["commit"])
    assert not code["dirty"]
    (root / "src/work.py").write_text(WORK + "#")
    assert held(built(root))[1]["code"]["dirty"]
    monkeypatch.setenv("PATH", "")
    assert held(built(root))[1]["code"]["commit"] == "unknown"


def test_a_word_that_is_no_option_is_answered_in_one_line(tree, capsys):
    (line,) = refusal(tree(), capsys, "baseline", "--epochs", "3")
    assert line == "baseline --epochs 3: not known; write --recipe NAME, --set key=value, --owner NAME"


def test_build_is_standard_library_only():
    modules = {"build", "kernel_metadata", "kaggle_account", "repository"}
    for name in modules:
        found = {module for _, module, _ in build.absolute_imports(ast.parse((ROOT / f"{name}.py").read_bytes()), name)}
        assert {module.split(".")[0] for module in found - modules} <= sys.stdlib_module_names


# What is refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import nonsense", "nonsense is neither"),
        ("from tests.x import y", "tests is neither"),
        ("import os, kaggle.api", "kaggle is neither"),
        ("import src.gone", "no module src.gone"),
        ("import src.folder", "no module src.folder"),
        ("from src import gone", "no gone in src"),
        ("from src.folder import gone", "no gone in src.folder"),
        ("from src.other import anwser", "no anwser in src.other"),
        ("from .gone import x", "no x in src.gone"),
        ("from .. import x", "leaves src"),
        ("from ...json import x", "leaves src"),
        ("import importlib; importlib.import_module('src.work')", "dynamic import"),
        ("from importlib import import_module", "dynamic import"),
        ("__import__('os')", "dynamic import"),
        ("import pkgutil; pkgutil.iter_modules()", "dynamic import"),
        ("exec('import os')", "exec()"),
        ("x = eval('1')", "eval()"),
        ("x = __file__", "__file__"),
        ("from remote import push", "remote is neither"),
        ("x = (", "cannot be read"),
        ("x = 'caf\udce9'", "cannot be read"),
    ],
)
def test_refused_with_file_and_line(tree, capsys, line, reason):
    text = f"import json\ndef f():\n    {line}\n".encode(errors="surrogateescape")
    lines = refusal(tree(work=text, main="import src.work", other=WORK, **{"folder/x": ""}), capsys)
    assert len(lines) == 1
    place, said = lines[0].split(": ", 1)
    assert place == ("src/work.py:1" if "caf" in line else "src/work.py:3")
    assert reason in said


def test_all_problems_are_told_at_once(tree, capsys):
    lines = refusal(tree(main="import src.work\nimport nonsense\n", work="import src.gone\nx = __file__\n"), capsys)
    assert [line.split(": ")[0] for line in lines] == ["src/main.py:2", "src/work.py:1", "src/work.py:2"]


def test_relative_import_far_beyond_the_top(tree, capsys):
    lines = refusal(tree(main="import src.a.b\n", **{"a/b": "from ....work import answer\n"}), capsys)
    assert lines == ["src/a/b.py:1: a relative import that leaves src"]


def test_right_imports_pass(tree):
    names = ", ".join(build.KERNEL_IMAGE.split())
    future, answer = "from __future__ import annotations", "import importlib.resources\nanswer = net.eval()"
    built(tree(work=f"{future}\nimport {names}\n{answer}\n"))


def test_tree_without_main(tree, capsys):
    root = tree()
    (root / "src/main.py").unlink()
    assert "src/main.py: not found" in refusal(root, capsys)[0]


@pytest.mark.parametrize("output", ["", ".", "kernel"])
def test_an_output_that_is_no_file_is_refused(tree, capsys, monkeypatch, output):
    root = tree()
    (root / "kernel").mkdir(exist_ok=True)
    monkeypatch.chdir(root)
    assert "a folder; name the script's file" in refusal(root, capsys, "--output", output)[0]


def test_too_large(tree, capsys):
    assert "Kaggle refuses 1,000,000" in refusal(tree(work=WORK + "#" * 1_000_000), capsys)[0]


def test_a_script_that_lost_something_is_not_written(tree, capsys, monkeypatch):
    quoted = build.quoted
    monkeypatch.setattr(build, "quoted", lambda text: quoted(text.replace("42", "43")))
    assert refusal(tree(), capsys) == ["kernel/fer2013.py: does not hold src/work.py byte for byte"]


def test_recipe_and_overrides_are_checked_by_the_trees_own_code(tree, capsys):
    error = "class UserError(Exception): pass\n"
    get = "import src.errors as e\ndef get(name):\n    if name != 'baseline': raise e.UserError('no recipe ' + name)\n"
    configure = (
        "import src.errors as e\ndef configure(recipe, pairs):\n    if pairs != ['a=1']: raise e.UserError('no')\n"
    )
    files = {"errors": error, "recipes": get, "contradictions": configure}
    files["main"] = "import src.errors, src.recipes, src.contradictions\n"
    assert refusal(tree(**files), capsys, "--recipe", "basline") == ["--recipe basline: no recipe basline"]
    assert refusal(tree(**files), capsys, "--set", "b=1") == ["--recipe baseline: no"]
    assert refusal(tree(), capsys, "--set", "b") == ["--set b: must be key=value"]
    built(tree(**files), "--set", "a=1")


# kernel-metadata.json: what is wrong in it is tested in test_kernel_metadata.py


def test_wrong_metadata_is_refused(tree, capsys):
    root = tree()
    file = root / "kernel-metadata.json"
    file.write_text(file.read_text().replace("enable_gpu", "enable_gpus"))
    assert "did you mean 'enable_gpu'?" in refusal(root, capsys)[0]


def test_owner_changes_nothing_but_the_name(tree, capsys):
    root = tree()
    file = root / "kernel-metadata.json"
    before = file.read_text()
    built(root, "--owner", "some-one")
    assert file.read_text() == before.replace("YOUR-KAGGLE-NAME", "some-one")
    assert "with the client alone: kaggle kernels push" in last_line(capsys)
    assert "some one" in refusal(root, capsys, "--owner", "some one")[0]


def last_line(capsys) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_a_placeholder_is_filled_in_where_the_client_knows_a_name(tree, capsys, no_account):
    root = tree()
    file = root / "kernel-metadata.json"
    before = file.read_text()
    built(root)
    assert last_line(capsys).startswith("kaggle kernels push will fail: ") and file.read_text() == before
    (no_account / "kaggle.json").write_text('{"username": "some-one", "key": "0123"}')
    built(root, "--check")
    assert "Run: python build.py" in last_line(capsys) and file.read_text() == before
    built(root)
    said = capsys.readouterr().out
    assert "the owner is now some-one" in said and "fail" not in said
    assert file.read_text() == before.replace("YOUR-KAGGLE-NAME", "some-one")


def test_an_owner_who_is_named_stays_although_the_client_knows_another(tree, capsys, monkeypatch):
    root = tree()
    built(root, "--owner", "first")
    monkeypatch.setenv("KAGGLE_USERNAME", "second")
    built(root)
    assert '"first/fer2013-expressions"' in (root / "kernel-metadata.json").read_text()
    assert "fail" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "key_file", "words"),
    [
        ("", None, "the Kaggle client knows no name. Run: python build.py --owner NAME"),
        ("not an owner", None, "'not an owner' cannot be one. Run: python build.py --owner NAME"),
        ("", b"\xef\xbb\xbf{}", "byte-order mark"),
        ("", b"{'username': 'me', 'key': '0123'}", "single quotes"),
    ],
)
def test_the_last_line_says_that_a_push_will_fail_and_what_to_do(
    tree, capsys, no_account, monkeypatch, name, key_file, words
):
    monkeypatch.setenv("KAGGLE_USERNAME", name)
    if key_file is not None:
        (no_account / "kaggle.json").write_bytes(key_file)
    built(tree())
    line = last_line(capsys)
    assert line.startswith("kaggle kernels push will fail: ") and words in line


def test_a_build_that_goes_elsewhere_or_is_refused_fills_nothing_in(tree, capsys, monkeypatch, tmp_path):
    root = tree()
    before = (root / "kernel-metadata.json").read_text()
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    built(root, "--output", str(tmp_path / "other.py"))
    refusal(root, capsys, "--set", "b")
    assert (root / "kernel-metadata.json").read_text() == before


# Where it runs


BUILD = "import build, pathlib, sys; sys.exit(build.main([], pathlib.Path(sys.argv[1])))"


def build_with(root, environment):
    """Builds the tree in a process of its own with this environment."""
    command = [sys.executable, "-c", BUILD, str(root)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_repository_of_another_owner_is_told_in_gits_words(tree):
    root = tree()
    subprocess.run(["git", "init", "-q", root], check=True)
    alone = os.environ | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    assert "warning" not in build_with(root, alone).stdout
    said = build_with(root, alone | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}).stdout
    assert "detected dubious ownership in repository" in said and "git config --global --add safe.directory" in said
    said = build_with(root, alone | {"PATH": ""}).stdout
    assert "no commit is recorded" in said and "'git'" in said


def test_a_run_from_the_sources_tells_it_too(tree, monkeypatch, capsys):
    root = tree()
    subprocess.run(["git", "init", "-q", root], check=True)
    monkeypatch.setattr(build, "ROOT", root)
    monkeypatch.setattr(sys, "argv", ["src", "recipes", "quick"])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("src", run_name="__main__")
    assert "no commit is recorded" in capsys.readouterr().err


def test_a_user_without_a_name_can_build(tree, nameless):
    done = build_with(tree(), nameless)
    assert done.returncode == 0 and "kernel/fer2013.py: " in done.stdout, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_error(tree, unbuffered):
    root = tree()
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", BUILD, root], cwd=ROOT, env=env, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"") and (root / build.OUTPUT).is_file()


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(tree, capsys):
    root = tree()
    (root / "kernel").write_text("a file")
    assert build.main([], root) == 2
    assert "kernel" in capsys.readouterr().err


def test_check_writes_nothing_and_output_may_lie_elsewhere(tree, tmp_path, capsys):
    root = tree()
    built(root, "--check")
    assert not (root / "kernel").exists()
    built(root, "--output", str(tmp_path / "other.py"))
    assert held(tmp_path / "other.py") == held(built(root))
    assert capsys.readouterr().out.startswith("kernel/fer2013.py: 3 files, ")
    assert "code_file" in refusal(root, capsys, "--output", str(root / "kernel/x.py"))[0]


# The project itself


def test_the_project_builds(tmp_path):
    sources, _ = held(build_script(tmp_path / "project", "baseline"))
    assert list(sources)[-1] == "src/main.py"
    assert all((ROOT / path).read_bytes() == content for path, content in sources.items())
