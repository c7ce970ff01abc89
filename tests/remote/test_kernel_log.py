"""Why a kernel failed, from its log alone: several forms of each ending, and the lines that are not the script's."""

import re
import time
import traceback

import pytest

from remote import kernel_log
from remote.kernel_log import TRACEBACK, explain_failure, unwrap
from src.terminal import wrap
from tests.remote.conftest import log_text

FRAME = '  File "/tmp/fer2013-0-abc/src/work.py", line 2, in answer\n    return 42\n'
SCRIPT = '  File "/kaggle/src/script.py", line 8388, in <module>\n    sys.exit(main(sys.argv[1:]))\n             ^^^^\n'
FAILURE = f"{TRACEBACK}\n{SCRIPT}{FRAME}RuntimeError: out of memory\n"
REASON = "RuntimeError: out of memory (src/work.py, line 2)"
LIBRARIES = "/usr/local/lib/python3.12/dist-packages"
WARNINGS = (
    f"{LIBRARIES}/mistune.py:435: SyntaxWarning: invalid escape sequence '\\|'\n  cells[i][c] = re.sub('\\\\|', '|')\n",
    f"{LIBRARIES}/traitlets/traitlets.py:2915: FutureWarning: --Exporter.preprocessors=[] is deprecated\n  warn(\n",
)
CONVERSION = (
    *WARNINGS,
    "[NbConvertApp] Converting notebook __script__.ipynb to html\n",
    "[NbConvertApp] Support files will be in __results___files/\n",
    "[NbConvertApp] Writing 283181 bytes to __results__.html\n",
)
START = "fer2013-kit 0123456789abcdef, commit abc1234, 2026-11-26\n"
TABLE = """torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\x20
============================================================
/kaggle/src/script.py FAILED
------------------------------------------------------------
Failures:
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 40)  (SIGTERM)
------------------------------------------------------------
Root Cause (first observed failure):
[1]:
  time      : 2026-11-25_22:51:22
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 41)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""
TORCHRUN = (
    "E1125 22:51:22.618000 30 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1)\n"
    f'{TRACEBACK}\n  File "<frozen runpy>", line 198, in _run_module_as_main\n'
    f'  File "{LIBRARIES}/torch/distributed/run.py", line 1142, in <module>\n    main()\n{TABLE}'
    "torchrun ended with exit code 1; blending the finished members\n"
)


def explain(project, *stderr: str, stdout: str = START) -> kernel_log.Failure:
    """The explanation of a log with these entries on stderr, without and with Kaggle's own lines: it is the same."""
    events = [("stdout", stdout), *(("stderr", data) for data in stderr)]
    found = explain_failure(log_text(*events), project)
    assert explain_failure(log_text(*events, *(("stderr", line) for line in CONVERSION)), project) == found
    shown = "\n".join((*found.lines, found.summary))
    assert "src/script.py" not in shown.replace("/kaggle/src/script.py", "")
    assert "NbConvertApp" not in shown and "Warning: " not in shown
    return found


# The script's own words


NO_DATA, ADVICE = "error: /kaggle/input: the competition's data is nowhere below\n", "Attach the competition.\n"


@pytest.mark.parametrize(
    ("entries", "advice"),
    [
        ([NO_DATA], False),
        ([NO_DATA, ADVICE], True),
        ([NO_DATA + ADVICE], True),
        ([*(NO_DATA + ADVICE)], True),  # an entry for each character
        ([WARNINGS[0], NO_DATA, ADVICE], True),
        ([NO_DATA, WARNINGS[1], "a word of a library\n"], False),
        ([FAILURE, NO_DATA, ADVICE], True),  # what was caught before is not the reason
        (["error: an earlier one\n", NO_DATA, ADVICE], True),
        (["\x1b[31m" + NO_DATA, ADVICE], True),
        (["\rtrain:  10%|#  | 1/10 [00:01<00:01]\rtrain:  20%|##  | 2/10 [00:01<00:01, 2.0it/s]" + NO_DATA], False),
        ([NO_DATA, "Exception ignored in: <_io.TextIOWrapper>\n", FAILURE], False),
        ([NO_DATA, "Killed\n"], False),
        ([NO_DATA.strip()], False),  # Kaggle's first line begins an entry
        ([NO_DATA, "[W1125 22:51:22.6 init.cpp:1] Warning: a word of torch\n"], False),
    ],
)
def test_an_error_is_told_with_the_line_after_it_and_nothing_of_others(built_project, entries, advice):
    found = explain(built_project, *entries)
    assert found.summary == " ".join([NO_DATA.strip(), *([ADVICE.strip()] if advice else [])])
    assert not found.lines


def test_a_wrong_option_is_an_error_too(built_project):
    wrong = "usage: fer2013 run [-h]\nfer2013 run: error: argument --nproc: invalid int value: 'two'\n"
    assert "argument --nproc: invalid" in explain(built_project, wrong).summary


@pytest.mark.parametrize(
    "words",
    [
        "warning: error: the disk is slow\n",
        "libpng error: bad file\n",
        f"{LIBRARIES}/x.py:1: UserWarning: error: no GPU\n  warn('error: no GPU')\n",
        "E0000 00:00:1732 13 cuda_dnn.cc:8310] Unable to register cuDNN factory\n",
        f"Exception ignored in: <function f>\n{FAILURE}",
        f"Exception in thread Thread-1 (loop):\n{FAILURE}",
    ],
)
def test_words_that_only_look_like_an_error_are_none(built_project, words):
    found = explain(built_project, words, stdout=f"{START}epoch 3 of 24\n")
    assert found.summary == 'ended without a word after "epoch 3 of 24": probably killed (memory or time)'


def test_no_finished_member_is_the_reason_where_nothing_else_is_told(built_project):
    words = "error: no member has finished, so there is no submission (vit: its loss is not finite)\n"
    assert explain(built_project, words).summary == words.strip()
    found = explain(built_project, FAILURE, words)
    assert found.summary == REASON and found.lines[-1] == words.strip()


# Tracebacks


CAUSE = f'{TRACEBACK}\n{FRAME}KeyError: "a"\n\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FAILURE, REASON),
        (FAILURE.replace("out of memory", "first") + FAILURE, REASON),
        (FAILURE + "a word of a library\n", REASON),
        ("".join(f"\r{n}%|#  | {n}/100 [00:01<00:01]" for n in range(9)) + FAILURE, REASON),
        (f"{CAUSE}{kernel_log.CHAINED[0]}\n\n{FAILURE}", REASON),
        (f"{CAUSE}{kernel_log.CHAINED[1]}\n\n{FAILURE}", REASON),
        (f"{CAUSE[:-1]}more of the message\n\n{kernel_log.CHAINED[1]}\n\n{FAILURE}", REASON),
        (f"{TRACEBACK}\n{FRAME}KeyboardInterrupt\n", "KeyboardInterrupt (src/work.py, line 2)"),
        (FAILURE.replace(": out", ": \n\tout") + "\tand more\n", REASON),
        (
            f'{TRACEBACK}\n{SCRIPT}  File "/tmp/fer2013-x1/src/a/b.py", line 7\n    x = (\n        ^\n'
            "SyntaxError: '(' was never closed\n",
            "SyntaxError: '(' was never closed (src/a/b.py, line 7)",
        ),
        ('  File "/kaggle/src/script.py", line 3\n    x = (\n        ^\nSyntaxError: bad\n', "SyntaxError: bad"),
        (FAILURE.rsplit("R", 1)[0], "its traceback is cut off after return 42 (src/work.py, line 2)"),
    ],
)
def test_a_traceback_is_told_with_this_repositorys_files_and_lines(built_project, text, reason):
    for entries in ([text], text.splitlines(keepends=True), [text[:97], text[97:]]):
        found = explain(built_project, *entries)
        assert found.summary == reason
        assert any("src/" in line and "/tmp/" not in line for line in found.lines) or "SyntaxError: bad" in text


def test_the_causes_of_an_exception_are_shown_before_it(built_project):
    for chained in kernel_log.CHAINED:
        lines = explain(built_project, f"{CAUSE}{chained}\n\n{FAILURE}").lines
        assert lines.index('KeyError: "a"') < lines.index(chained) < lines.index("RuntimeError: out of memory")
        assert '  File "/kaggle/src/script.py", line 8388, in <module>' in lines


def test_the_conversions_own_traceback_is_not_the_scripts(built_project):
    frame = '  File "/usr/local/bin/jupyter-nbconvert", line 8, in <module>\n    sys.exit(main())\n'
    broken = f"{TRACEBACK}\n{frame}OSError: no template\n"
    assert explain(built_project, broken, stdout="epoch 1\n").summary.startswith('ended without a word after "epoch 1"')
    assert explain(built_project, NO_DATA, broken).summary == NO_DATA.strip()
    assert explain(built_project, FAILURE, CONVERSION[2], broken).summary == REASON


def test_sources_that_changed_are_told_by_the_digest_in_the_log(built_project):
    assert "have changed" in explain(built_project, FAILURE, stdout=f"[0] {START}").lines[-1]


# Exception groups, as Python prints them.


def collect() -> None:
    """Raises a group of a group, an exception with a message of two lines, and one with a cause."""
    errors = []
    for cause, error in ((None, ValueError("n 1\nsecond line")), (KeyError("a"), OSError(5, "no disk"))):
        try:
            raise error from cause
        except (ValueError, OSError) as caught:
            errors.append(caught)
    raise ExceptionGroup("two things", [errors[0], ExceptionGroup("inside", [errors[1]])])


def group_text(change=lambda error: None) -> str:
    """The traceback of `collect`, as if it stood in the unpacked sources. change: what to do with the group."""
    try:
        try:
            collect()
        except ExceptionGroup as error:
            change(error)
            raise
    except Exception as error:
        text = "".join(traceback.format_exception(error))
    return text.replace(__file__, "/tmp/fer2013-0-abc/src/work.py")


def raise_again(error: ExceptionGroup) -> None:
    raise RuntimeError("gave up") from error


@pytest.mark.parametrize("after", ["", "a word of a library\n", "ResourceWarning: unclosed\n"])
@pytest.mark.parametrize("prefix", ["", "[rank1]: "])
@pytest.mark.parametrize("bars", [True, False])  # before the further lines of a message, by Python and by its C code
def test_an_exception_group_is_told_with_the_exceptions_in_it(built_project, prefix, after, bars):
    text = group_text() if bars else re.sub(r"\n +\| second line", "\nsecond line", group_text())
    lines = [prefix * bool(line.strip()) + line for line in text.splitlines(keepends=True)]
    found = explain(built_project, *lines, after)
    group = "ExceptionGroup: two things (2 sub-exceptions): ValueError: n 1; KeyError: 'a'; OSError: [Errno 5] no disk"
    who = "rank 1: " if prefix else ""
    assert re.fullmatch(rf"{re.escape(who + group)} \(src/work\.py, line \d+\)", found.summary)
    assert "second line" in (line.strip(" |") for line in found.lines)
    assert not any("/tmp/" in line or "word of" in line for line in found.lines)


def test_a_group_that_is_the_cause_of_another_error_is_shown_before_it(built_project):
    found = explain(built_project, group_text(raise_again))
    assert found.summary.startswith("RuntimeError: gave up (src/work.py")
    assert any("two things" in line for line in found.lines) and kernel_log.CHAINED[1] in found.lines


def test_a_group_that_is_cut_off_is_told_as_far_as_it_goes(built_project):
    text = group_text()
    for end, words in (
        (text.index("KeyError"), "two things (2 sub-exceptions): ValueError: n 1"),
        (90, "cut off after"),
    ):
        assert words in explain(built_project, text[:end]).summary


def test_an_error_after_a_group_is_the_reason(built_project):
    assert explain(built_project, group_text(), NO_DATA).summary == NO_DATA.strip()


# Ranks


def of_rank(rank: int, text: str, form: str = "[rank{}]: ") -> list[str]:
    """As torch writes it: blank lines have no prefix."""
    return [(form.format(rank) if line.strip() else "") + line for line in text.splitlines(keepends=True)]


@pytest.mark.parametrize("form", ["[rank{}]: ", "[default{}]:", "[{}] ", "[default{}]:[rank{}]: ".replace("{}", "{0}")])
def test_tracebacks_of_ranks_are_taken_apart_and_the_rank_is_named(built_project, form):
    first, second = of_rank(1, f"{CAUSE}{kernel_log.CHAINED[0]}\n\n{FAILURE}", form), of_rank(0, FAILURE, form)
    mixed = [line for n in range(len(first)) for line in (first[n], *second[n : n + 1])]
    for entries in (first, [*first, *second], [*second, *first], mixed):
        found = explain(built_project, *entries, "error: no member has finished\n", stdout=f"[0] {START}")
        rank = 0 if entries[0] is second[0] or entries is mixed else 1
        assert found.summary == f"rank {rank}: {REASON}"
        assert len(entries) == len(first) or f"rank {1 - rank}: {REASON}" in found.lines
        assert not any(line.startswith("[") for line in found.lines)


def test_torchruns_own_traceback_is_none_and_its_table_names_the_rank(built_project):
    torchrun = TORCHRUN.format(code=1)
    assert explain(built_project, FAILURE, torchrun, "error: no member has finished\n").summary == f"rank 1: {REASON}"
    assert explain(built_project, FAILURE, torchrun, "error: the disk is full\n").summary == f"rank 1: {REASON}"
    other = FAILURE.replace("out of memory", "a consequence")
    assert explain(built_project, *of_rank(0, other), *of_rank(1, FAILURE), torchrun).summary == f"rank 1: {REASON}"


@pytest.mark.parametrize(("code", "reason"), [("-9", "probably killed (memory or time)"), ("3", "exit code 3")])
def test_a_rank_that_ended_without_a_word_is_named(built_project, code, reason):
    stdout = f"[0] {START}[1] epoch 3 of 24\n[0] epoch 4 of 24\n"
    found = explain(built_project, TORCHRUN.format(code=code), stdout=stdout)
    assert found.summary == f'rank 1 ended without a word after "epoch 3 of 24": {reason}'


def test_an_error_of_a_rank_names_it(built_project):
    found = explain(built_project, f"[rank0]: {NO_DATA}", f"[rank0]: {ADVICE}")
    assert found.summary == f"rank 0: {NO_DATA.strip()} {ADVICE.strip()}"


# Endings without a word


@pytest.mark.parametrize(
    "stderr",
    [
        [],
        ["Killed\n"],
        ["/bin/bash: line 1:    42 Killed                  python3 /kaggle/src/script.py\n"],
        ["Process exited with code 137\n"],
        ["exit code: 137\n"],
        [*WARNINGS],
        ["\rmodel.safetensors:  10%|#  | 1/10 [00:01<00:01]\rmodel.safetensors:  20%|## | 2/10 [00:01<00:01]"],
    ],
)
def test_a_script_that_was_killed_is_told_with_its_last_line(built_project, stderr):
    found = explain(built_project, *stderr, stdout=f"{START}epoch 1 of 24\n10 %\r20 %\repoch 2 of 24")
    assert found.summary == 'ended without a word after "epoch 2 of 24": probably killed (memory or time)'
    assert found.lines[-2:] == ("epoch 1 of 24", "epoch 2 of 24")


def test_a_log_that_just_stops_is_read_as_far_as_it_goes(built_project):
    text = log_text(("stdout", "epoch 1 of 24\n"), ("stdout", "epoch 2 of 24\n"))
    for cut in (1, 10, 40):
        assert 'after "epoch ' in explain_failure(text[:-cut], built_project).summary
    failed = log_text(("stderr", NO_DATA), ("stderr", ADVICE))
    assert explain_failure(failed[:-1], built_project).summary == f"{NO_DATA.strip()} {ADVICE.strip()}"


def test_other_endings_of_a_process_are_named(built_project):
    for crashed in (
        "Segmentation fault (core dumped)\n",
        "Fatal Python error: Bus error\n\n",
        "  what():  CUDA error\n",
    ):
        found = explain(built_project, crashed, stdout="epoch 1\n").summary
        assert found.startswith('ended without a word after "epoch 1": ') and found.split(": ")[1].strip() in crashed
    ended = "\nSIGTERM: ends after this step; once more ends at once\n"
    assert "SIGTERM: ends after this step" in explain(built_project, ended).summary


def test_a_failure_that_only_the_runs_log_tells_is_the_reason(built_project):
    found = explain(built_project, stdout=f"[0] {START}[0] failed: no space is left\n[1] device: cpu\n")
    assert found.summary == "failed: no space is left"


def test_lines_that_the_script_wrapped_are_one(built_project):
    reason = "vit: diverges in epoch 3 (training loss inf, validation loss nan) also at an eighth of its learning rate"
    warning = wrap(f"warning: {reason}; the run continues without vit")
    missing = "warning: vit is missing, as said above"
    end = "submission: /kaggle/working/submission.csv\n7,178 rows, checked; 9 s in all"
    assert warning.count("\n") > 0
    found = explain(built_project, stdout=f"{START}{warning}\n{missing}\n{end}\n")
    assert found.summary == f"the run finished; vit is missing: {reason.removeprefix('vit: ')}"
    found = explain(built_project, stdout=f"{START}{warning}\n")
    assert "the run continues without vit" in found.summary


@pytest.mark.parametrize("rank", ["", "[0] ", "[rank0]: "])
def test_a_long_word_after_an_empty_line_is_no_rest_of_it(rank):
    lines = [rank, f"{rank}    /kaggle/input/{'x' * 80}"]
    assert unwrap(lines) == lines


def test_a_run_that_finished_without_a_member_names_it(built_project):
    missing, end = (
        "vit is missing: its loss is not finite",
        "/kaggle/working/submission.csv: 7,178 rows, checked; 9 s in all",
    )
    found = explain(built_project, stdout=f"{START}warning: {missing}\n{end}\n")
    assert found.summary == f"the run finished; {missing}"
    assert explain(built_project, stdout=f"{START}{end}\n").summary == "the run finished"


@pytest.mark.parametrize("text", ["", "[]", "null", '[{"data": null}]', log_text(*(("stderr", c) for c in CONVERSION))])
def test_a_log_without_a_line_of_the_script_is_said(text, built_project):
    assert explain_failure(text, built_project).summary == "ended without a word: its log holds no line of the script"


@pytest.mark.parametrize(("text", "words"), [("{", "{"), ("plain words\n", "plain words"), ("[0] a {", "a {")])
def test_a_log_in_no_known_form_is_read_as_text(text, words, built_project):
    assert explain_failure(text, built_project).summary.startswith(f'ended without a word after "{words}"')
    assert explain_failure(f"{text}\n{FAILURE}", built_project).summary == REASON


def test_entries_without_line_ends_are_lines(built_project):
    events = [(stream, data.strip()) for stream, data in (("stdout", START), ("stderr", NO_DATA), ("stderr", ADVICE))]
    log = log_text(*events, *(("stderr", line.split("\n")[0]) for line in CONVERSION))
    assert explain_failure(log, built_project).summary == f"{NO_DATA.strip()} {ADVICE.strip()}"


def test_a_long_log_is_explained_in_seconds(built_project):
    text = log_text(*((stream, f"[0] epoch {n}\n") for n in range(20_000) for stream in ("stdout", "stderr")))
    started = time.process_time()
    assert "epoch 19999" in explain_failure(text, built_project).summary
    for signs in ("|", "%", "exit ", "[0]:", "a.", "\\r", "x:1: "):
        explain_failure(log_text(("stderr", signs * 5000), ("stdout", "1%|" + signs * 5000)), built_project)
    assert time.process_time() - started < 5


def test_lines_that_come_in_pieces_are_put_together():
    chunks = [("stdout", "epoch "), ("stderr", "warning\nTrace"), ("stdout", "1\r\nend")]
    lines = [("stderr", "warning"), ("stdout", "epoch 1"), ("stderr", "Trace"), ("stdout", "end")]
    assert kernel_log.parse_log(log_text(*chunks)) == lines
