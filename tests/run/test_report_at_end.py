"""The report comes after the submission and never at its cost: a fault is a warning, too little time is a line."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from src.data.competition import read_competition
from src.main import main
from src.run import report
from src.run.context import RunRequest
from src.run.report import attention_seconds, report_seconds, write_report
from src.train.budget import Deadline
from tests.conftest import fake_bundle
from tests.support.made_up_runs import write_made_up_run
from tests.support.small_runs import SETTINGS, read_log, request, run_command

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def done(faces, tmp_path_factory) -> Path:
    """A finished run without a report."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert run_command(faces, output) == 0
    return output


def again(faces: Path, output: Path) -> int:
    """The same command once more, which trains nothing, with its report."""
    return main(["run", "--set", *SETTINGS, "--input", str(faces), "--output", str(output), "--device", "cpu"],
                fake_bundle())  # fmt: skip


@pytest.fixture
def copy(done, tmp_path) -> Path:
    return shutil.copytree(done, tmp_path / "out")


def test_a_run_ends_with_its_report(copy, faces):
    assert not (copy / "report.html").exists()
    assert again(faces, copy) == 0
    text = (copy / "report.html").read_text("utf-8")
    assert all(words in text for words in ("quick, seed 0", "compact_cnn", "Likely label errors", "max_train_rows"))
    assert "could not be made" not in text and "What is missing" not in text
    assert f"report: {copy / 'report.html'}" in read_log(copy) and list((copy / "figures").glob("confusion-*.png"))


@pytest.mark.parametrize("fault", [RuntimeError("a defect"), OSError(28, "No space left"), MemoryError()], ids=repr)
def test_a_fault_in_the_report_is_a_warning_and_the_run_is_finished(copy, faces, monkeypatch, fault):
    monkeypatch.setattr("src.report.run_report.write_page", Mock(side_effect=fault))
    monkeypatch.setattr("src.report.run_report.SECTIONS", {})
    before = (copy / "submission.csv").read_bytes()
    assert again(faces, copy) == 0
    (said,) = [line for line in read_log(copy).splitlines() if "warning: no report.html" in line]
    assert (str(fault.args[-1]) if fault.args else "MemoryError") in said and "the submission is complete" in said
    assert (copy / "submission.csv").read_bytes() == before and '"status": "finished"' in (
        copy / "run.json"
    ).read_text()


def context_of(folder: Path, faces: Path, left: float, **request) -> SimpleNamespace:
    """What `write_report` needs of a run."""
    lines: list[str] = []
    return SimpleNamespace(
        request=SimpleNamespace(**{"report": True} | request),
        budget=Deadline(left / 3600, 0.0, lambda: 0.0),
        shared=SimpleNamespace(report_seconds=20.0),
        folder=SimpleNamespace(path=folder),
        data=read_competition(faces),
        log=lines.append,
        lines=lines,
    )


def test_too_little_time_is_a_line(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "report_run", Mock(return_value=["the section x failed"]))
    context = context_of(tmp_path, faces, 19)
    write_report(context)
    assert context.lines == [
        "no report.html: 19 s are left and it takes about 20 s; the command `report` makes it later"
    ]
    context = context_of(tmp_path, faces, 21)
    write_report(context)
    assert context.lines == ["warning: the section x failed", f"report: {tmp_path / 'report.html'}"]


def test_without_a_report_nothing_is_done(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "report_run", Mock(side_effect=AssertionError))
    context = context_of(tmp_path, faces, 1e6, report=False)
    write_report(context)
    assert context.lines == []


def budgeted(faces: Path, output: Path, **options) -> RunRequest:
    return request(faces, output, "time_budget_hours=2", **{"report": True} | options)


def test_the_time_for_the_report_is_measured_where_there_is_a_deadline(faces, tmp_path, monkeypatch):
    assert report_seconds(budgeted(faces, tmp_path)) > 0.1
    assert report_seconds(request(faces, tmp_path, report=True)) == 0
    assert report_seconds(budgeted(faces, tmp_path, report=False)) == 0
    monkeypatch.setattr(report, "draw", Mock(side_effect=ImportError("no matplotlib")))
    assert report_seconds(budgeted(faces, tmp_path)) == 0


def test_the_maps_of_each_member_that_is_shown_count_and_each_network_is_measured_once(faces, tmp_path, monkeypatch):
    measured = Mock(side_effect=lambda *_: time.sleep(0.02))
    monkeypatch.setattr(report, "maps_of", measured)
    seconds = attention_seconds(request(faces, tmp_path, "seeds=0,1,2", "fold=all", "folds=3"))
    assert seconds > 6 * 0.02 and measured.call_count == 2


def test_a_half_finished_run_of_several_members_has_a_page(faces, tmp_path, capsys):
    """As after an interruption: no submission, one member of two."""
    folder = write_made_up_run(tmp_path / "run", read_competition(faces))
    for name in ("predictions/simple_cnn_v2.npz", "members/simple_cnn_v2/history.csv"):
        (folder / name).unlink()
    assert main(["report", str(folder), "--input", str(faces)], fake_bundle()) == 0
    assert "missing: predictions/simple_cnn_v2.npz is missing" in " ".join(capsys.readouterr().out.split())
