"""What is printed: wrapped at spaces, in any encoding, and to a reader that goes away; and that torch comes later."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.kernel_log import unwrap
from src.main import main
from src.submit.write import write_submission
from src.terminal import PIPE_CLOSED, run_command, wrap
from tests.conftest import ROOT, fake_bundle
from tests.support.fuzzing import examples
from tests.support.terminal import too_wide

# ------------------------------------------------------------------------------------------ wrapping

WORDS = st.text("ab/.", min_size=1, max_size=100)


@examples(100)
@given(st.lists(WORDS, min_size=1, max_size=40), st.sampled_from(["", "  "]))
def test_wrapped_lines_fit_unless_they_are_one_word_and_hold_the_same_words_in_order(words, start):
    text = start + " ".join(words)
    lines = wrap(text).split("\n")
    assert not too_wide("\n".join(lines)) and " ".join(lines).split() == text.split()
    assert lines[0].startswith(start.rstrip()) and all(line.startswith("    ") for line in lines[1:])
    if not start.startswith(" "):
        assert unwrap(lines) == [text]


@pytest.mark.parametrize("before", range(66, 80))
def test_a_figure_stays_with_its_per_cent_sign(before):
    text = f"{before * 'a'} 16.82 %, and 5 %"
    lines = wrap(text).split("\n")
    assert not any(line.strip().startswith("%") for line in lines) and not too_wide("\n".join(lines))
    assert " ".join(line.strip() for line in lines) == text and unwrap(lines) == [text]


def test_lines_that_fit_stay_as_they_are():
    text = "a  table  of\n\n  columns    \n" + 79 * "x"
    assert wrap(text) == text


@pytest.mark.parametrize(
    "lines",
    [
        ["short", "    code of a traceback"],
        [f'  File "/tmp/{70 * "x"}.py", line 3, in work', "    raise ValueError"],
        [f"[0] {70 * 'x'}", "[1]     another rank's line"],
        [f"[rank0]: {75 * 'x'}", "    no rank"],
        [80 * "x", "     five spaces"],
    ],
)
def test_only_what_was_wrapped_is_joined_again(lines):
    assert unwrap(lines) == lines


def test_the_lines_of_ranks_are_joined_each_with_its_own():
    words = " ".join(["word"] * 40)
    lines = [f"[1] {line}" for line in wrap(words, 75).split("\n")]
    assert unwrap(["[0] a", *lines, "[0] b"]) == ["[0] a", f"[1] {words}", "[0] b"]


# ----------------------------------------------------------------------------------------- encodings


@pytest.fixture
def printed(monkeypatch):
    """Returns a function that calls a function with streams of an encoding, and returns what it wrote to them."""

    def call(encoding: str, function) -> str:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        function()
        return "".join(stream.buffer.getvalue().decode(encoding) for stream in streams)

    return call


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_character_is_printed_on_any_encoding(printed, encoding):
    def command() -> int:
        print("95.10 – 97.20 ± 1 … ß 面 \udcff", flush=True)
        print("error: ± 面", file=sys.stderr)
        return 3

    codes = []
    text = printed(encoding, lambda: codes.append(run_command(command)))
    assert codes == [3] and "\\udcff" in text and text.startswith("95.10 ")
    if encoding == "ascii":
        assert text == "95.10 - 97.20 +- 1 ... \\xdf \\u9762 \\udcff\nerror: +- \\u9762\n"
    if encoding == "utf-8":
        assert text == "95.10 – 97.20 ± 1 … ß 面 \\udcff\nerror: ± 面\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_every_command_prints_on_streams_that_lack_its_characters(printed, faces, tmp_path, encoding):
    folder = tmp_path / "földer 面"
    folder.mkdir()
    write_submission(folder / "submission.csv", np.arange(80) % 7)
    files = [str(folder / "submission.csv"), "--input", str(faces)]
    for command, words in (
        (["check", *files], "valid"),
        (["score", *files], "PublicTest"),
        (["recipes", "baseline"], "rotation by up to"),
        (["score", str(folder / "gone.csv"), "--input", str(folder)], "error: "),
        (["run", "--input", str(folder), "--output", str(folder)], "error: "),
    ):
        text = printed(encoding, lambda: main(command, fake_bundle()))  # noqa: B023
        assert words in text
        assert command[0] not in ("check", "score") or words == "error: " or not too_wide(text)


# --------------------------------------------------------------------- entry points in their own process

ENTRIES = {  # a short command of each, by the arguments of Python
    "sources": ["-m", "src", "recipes", "baseline"],
    "help": ["-m", "src", "run", "--help"],
    "remote": ["-m", "remote", "fetch", "--help"],
    "rehearse": ["-m", "tools.rehearse", "--help"],
    "build": ["build.py", "--help"],
}


def run_python(arguments: list[str], reader_leaves: bool = False, **environment: str) -> tuple[int, bytes, str]:
    """Exit code, standard output and standard error of Python with these arguments, in the project's folder."""
    read, write = os.pipe()
    if reader_leaves:
        os.close(read)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    options = {"cwd": ROOT, "stdout": write, "stderr": subprocess.PIPE, "env": kept | environment}
    with subprocess.Popen([sys.executable, *arguments], **options) as process:
        os.close(write)
        out = b""
        if not reader_leaves:
            with os.fdopen(read, "rb") as file:
                out = file.read()
        error = process.communicate(timeout=60)[1].decode(errors="replace")
    return process.returncode, out, error


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_reader_that_leaves_is_no_error(entry):
    code, _, error = run_python(ENTRIES[entry], reader_leaves=True)
    assert error == "" and code in (0, PIPE_CLOSED)


@pytest.mark.parametrize("encoding", ["", "ascii", "latin-1", "cp1252"])
def test_an_entry_point_prints_in_any_locale(encoding):
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    more = {"PYTHONIOENCODING": encoding} if encoding else {}
    code, out, error = run_python(ENTRIES["sources"], **plain, **more)
    assert (code, error) == (0, "") and "rotation by up to" in out.decode(encoding or "ascii")


def test_the_first_line_of_a_tool_is_readable_in_ascii():
    error = run_python(["-m", "tools.record", "--no-such-option"], PYTHONIOENCODING="ascii")[2]
    assert error.startswith("loading torch ...\n")


SCRIPT = """
import os, sys
from src.terminal import run_command

def command():
    {body}

sys.exit(run_command(command))
"""
BODIES = {
    "buffered": ("print('a'); return 0", PIPE_CLOSED),
    "at once": ("print('a', flush=True); return 0", PIPE_CLOSED),
    "much": ("print('a\\n' * 100_000); return 0", PIPE_CLOSED),
    "found wrong": ("print('a'); return 2", 2),
    "help": ("print('a'); sys.exit(0)", 0),
    "nothing printed": ("return 0", 0),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("unbuffered", [False, True])
def test_the_exit_code_says_that_nobody_read(body, unbuffered):
    text, expected = BODIES[body]
    if unbuffered and body in ("found wrong", "help"):
        expected = PIPE_CLOSED  # it is known before the command has ended
    option = ["-u"] if unbuffered else []
    code, _, error = run_python([*option, "-c", SCRIPT.format(body=text)], reader_leaves=True)
    assert (code, error) == (expected, "")


def test_a_defect_keeps_its_traceback_where_nobody_reads_and_so_does_another_broken_pipe():
    for body, name in (
        ("print('a'); 1 / 0", "ZeroDivisionError"),
        ("a, b = os.pipe(); os.close(a); os.write(b, b'x')", "BrokenPipeError"),
    ):
        code, _, error = run_python(["-c", SCRIPT.format(body=body)], reader_leaves="print" in body)
        assert code == 1 and error.rstrip().splitlines()[-1].startswith(name) and error.count("Traceback") == 1


def test_streams_that_are_closed_are_no_error():
    closed = f'exec "{sys.executable}" -m src recipes baseline >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "stream"),
    [
        ("-m src run --recipe quick --set epochs=1", "out"),
        ("-m src plan", "out"),
        ("-m src quick", "out"),
        ("-m src recipes", "error"),
        ("-m remote score", "error"),
        ("-m remote submissions", "error"),
        ("-m tools.record", "error"),
    ],
)
def test_the_first_line_comes_before_torch(tmp_path, arguments, stream):
    """A torch that cannot be imported lies first in the path."""
    (tmp_path / "torch.py").write_text("raise ImportError('too early')")
    code, out, error = run_python(arguments.split(), PYTHONPATH=str(tmp_path), PYTHONIOENCODING="utf-8")
    assert code == 1 and error.rstrip().endswith("ImportError: too early")
    lines = (out.decode() if stream == "out" else error).splitlines()
    assert "loading torch …" in lines[: 2 if "--set" in arguments else 1]
