"""Fetching what a run left: the most valuable files first, checked, recorded, compared; and each way it can fail."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import build
from remote import git_tags
from src.data import synthetic
from src.main import main as run_main
from tests.support.kaggle_server import Version
from tests.support.project import KERNEL, git


@pytest.fixture(scope="module")
def left(built_project, faces, tmp_path_factory) -> Path:
    """What a run of the built script leaves in its output folder."""
    output = tmp_path_factory.mktemp("left")
    bundle = build.read_header((built_project / build.OUTPUT).read_bytes())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two that wait for each other on a busy machine take many times as long
    places = ["--input", str(faces), "--output", str(output)]
    assert run_main(["run", "--device", "cpu", "--no-report", *places], bundle) == 0
    torch.set_num_threads(threads)
    return output


@pytest.fixture
def complete(remote, leaves, left, faces, monkeypatch):
    """A project whose kernel, version 1, is complete and has left a copy of `left`."""
    monkeypatch.setenv("FER_INPUT", str(faces))
    leaves("COMPLETE", working=left)
    remote("push")
    return remote


def on_kaggle(remote) -> Path:
    """The folder of the newest version's output on the server."""
    return remote.kaggle.kernels[KERNEL][-1].working


def change_run(remote, **changes) -> None:
    """Changes keys of the run.json on the server; the value "gone" removes one."""
    file = on_kaggle(remote) / "run.json"
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value != "gone"}))


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_everything_but_the_weights_is_fetched_and_nothing_that_git_follows_changes(complete, left):
    complete("fetch")
    home = complete.root / "output/kernel/v1"
    wanted = {name for name in names(left) if not name.endswith(".safetensors")}
    assert names(home) - {"fer2013-expressions.log"} == wanted
    assert all((home / name).read_bytes() == (left / name).read_bytes() for name in wanted)
    assert "95 % interval" in complete("score")
    assert git(complete.root, "status", "--porcelain") == "" and not any((complete.root / "results").iterdir())


def test_recording_is_asked_for(complete):
    complete("fetch", "--record")
    (recorded,) = complete.root.glob("results/quick-*")
    assert {"score.json", "run.json", "test_probs.npz"} <= names(recorded)
    assert "quick" in (complete.root / "results/README.md").read_text()


def test_the_files_of_most_worth_come_first(complete):
    (on_kaggle(complete) / "report.html").write_text("<p>A page.</html>")
    complete("fetch", "--weights")
    kinds = ["submission|run.json", "predictions", "history|log|result|report|figures", "safetensors"]
    found = [next(i for i, kind in enumerate(kinds) if re.search(kind, name)) for name in complete.kaggle.files]
    assert found == sorted(found) and set(found) == {0, 1, 2, 3}
    assert (complete.root / "output/kernel/v1/members/compact_cnn/model.safetensors").is_file()


@pytest.mark.parametrize("cut", ["told", "silent"])
@pytest.mark.parametrize("name", ["submission.csv", "compact_cnn.npz"])
def test_a_download_that_was_cut_in_half_is_fetched_again(complete, left, cut, name):
    complete.kaggle.fail(f"file .*{name}", cut=cut)
    complete("fetch")  # newer clients notice by themselves a length that does not agree, and repeat the download
    assert complete.kaggle.faults[0].times == 0
    (home,) = (complete.root / "output").rglob(name)
    assert home.read_bytes() == next(left.rglob(name)).read_bytes()


@pytest.mark.parametrize("name", ["submission.csv", "run.json", "history.csv", "model.safetensors"])
def test_a_download_that_is_always_cut_is_an_error_and_leaves_no_half_file(complete, name):
    complete.kaggle.fail(f"file .*{name}", cut="silent", times=99)
    error = complete.error("fetch", "--weights", code=1)
    assert name in error and "came damaged 3 times" in error
    assert not list((complete.root / "output").rglob(name)) and not list(complete.root.glob("results/quick-*"))


def test_an_error_page_in_the_place_of_a_file_is_noticed(complete):
    complete.kaggle.fail("file .*run.json", 404, "gone", plain=True, times=99)
    assert "run.json" in complete.error("fetch", code=1)  # older clients write the page into the file
    assert not list((complete.root / "output").rglob("run.json"))


@pytest.mark.parametrize("name", ["submission.csv", "members/compact_cnn/history.csv"])
def test_a_file_of_the_right_form_and_other_content_is_known_by_its_digest(complete, name):
    file = on_kaggle(complete) / name
    text = file.read_text()
    file.write_text(f"{text[:-2]}{'1' if text[-2] == '0' else '0'}\n")
    assert f"{name} came damaged 3 times: its SHA-256" in complete.error("fetch", code=1)


@pytest.mark.parametrize("name", ["report.html", "figures/loss.png"])
def test_a_report_is_fetched_whole_or_not_at_all(complete, name):
    file, picture = on_kaggle(complete) / name, io.BytesIO()
    Image.new("L", (48, 48)).save(picture, "PNG")
    content = b"<!doctype html>\n<p>" + 999 * b"word " + b"</html>\n" if name == "report.html" else picture.getvalue()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    complete("fetch")
    assert (complete.root / "output/kernel/v1" / name).read_bytes() == content
    file.write_bytes(content[: len(content) // 2])
    assert f"{name} came damaged 3 times: its end is missing" in complete.error("fetch", code=1)
    assert not (complete.root / "output/kernel/v1" / name).exists()


def test_a_run_without_digests_is_still_checked_by_its_form(complete):
    change_run(complete, files="gone")
    complete.kaggle.fail("file .*submission.csv", cut="silent", times=99)
    assert "submission.csv came damaged" in complete.error("fetch", code=1)


def test_output_of_other_sources_is_refused(complete):
    code = json.loads((on_kaggle(complete) / "run.json").read_text())["code"]
    change_run(complete, code=code | {"digest": "f" * 16})
    error = complete.error("fetch", code=1)
    assert "ffffffffffffffff" in error and "another version" in error


def test_a_version_that_the_client_alone_pushed_has_its_own_folder(complete):
    git_tags.untagged_version.cache_clear()
    complete("fetch")
    version = complete.kaggle.kernels[KERNEL][0]
    complete.kaggle.kernels[KERNEL].append(Version(complete.kaggle, version.request, 2))
    code = json.loads((on_kaggle(complete) / "run.json").read_text())["code"]
    change_run(complete, code=code | {"digest": "f" * 16})
    assert "version 2 has no tag in this repository" in complete("fetch")
    said = complete("watch")
    assert "version 2: COMPLETE" in said and "no tag" not in said
    digests = [json.loads((complete.root / f"output/kernel/v{n}/run.json").read_text())["code"]["digest"] for n in "12"]
    assert digests == [code["digest"], "f" * 16]


def test_predictions_of_another_recipe_are_refused(complete):
    change_run(complete, config_hash="e" * 16)
    assert "of another recipe" in complete.error("fetch", code=1)


def test_a_kernel_that_runs_has_nothing_to_fetch_yet(complete):
    complete.kaggle.kernels[KERNEL][-1].states = ["RUNNING"]
    assert "still RUNNING" in complete.error("fetch", code=2)


def test_a_kernel_that_left_nothing_is_said(complete):
    shutil.rmtree(on_kaggle(complete))
    assert "left no run.json and no submission.csv" in complete.error("fetch", code=1)


def test_what_a_failed_kernel_left_is_fetched_and_not_recorded(complete):
    frame = '  File "/tmp/fer2013-0-abc/src/work.py", line 3, in step\n'
    text = f"Traceback (most recent call last):\n{frame}RuntimeError: out of memory\n"
    version = complete.kaggle.kernels[KERNEL][-1]
    version.states, version.events = ["ERROR"], [{"stream_name": "stderr", "time": 1, "data": text}]
    error = complete.error("fetch", code=1)
    assert "RuntimeError: out of memory (src/work.py, line 3)" in error and "output/kernel/v1" in error
    assert (complete.root / "output/kernel/v1/submission.csv").is_file()
    assert list(complete.root.glob("results/quick-*")) == []


def test_without_the_competitions_files_a_run_is_fetched_and_not_recorded(complete):
    error = complete.error("fetch", "--record", "--input", str(complete.root / "nothing"), code=2)
    assert "fetched and not recorded" in error and "python -m tools.record" in error
    assert (complete.root / "output/kernel/v1/submission.csv").is_file() and not list(complete.root.glob("results/*"))
    assert "no such folder" in complete.error("score", "--input", str(complete.root / "nothing"), code=2)


def test_other_data_than_the_runs_is_refused(complete, tmp_path):
    synthetic.write_files(tmp_path / "others", train=100, test=80, seed=9)
    assert "had the data" in complete.error("fetch", "--record", "--input", str(tmp_path / "others"), code=2)


def test_go_does_it_all(complete):
    said = complete("go", "--recipe", "quick", "--set", "epochs=1")
    assert all(words in said for words in ("version 2 pushed", "COMPLETE", "95 % interval"))
    assert not any((complete.root / "results").iterdir())
    assert "results/quick" in complete("go", "--recipe", "quick", "--set", "epochs=1", "--record")


def test_go_scores_what_it_has_fetched_into_another_folder(complete, tmp_path):
    place = tmp_path / "out"
    assert "95 % interval" in complete("go", "--recipe", "quick", "--set", "epochs=1", "--output", str(place))
    assert (place / "submission.csv").is_file() and not (complete.root / "output/kernel").exists()


# What is made of it


def test_submissions_are_compared_on_the_same_rows(complete):
    assert "nothing is fetched" in complete.error("submissions", code=2)
    complete("fetch")
    other = shutil.copytree(complete.root / "output/kernel/v1", complete.root / "output/kernel/v2")
    rows = [line.split(",") for line in (other / "submission.csv").read_text().splitlines()]
    lines = [f"{row},{(int(label) + 1) % 7}" if row.isdecimal() else f"{row},{label}" for row, label in rows]
    (other / "submission.csv").write_text("\n".join(lines) + "\n")
    said = complete("submissions")
    assert "v2 against, PublicTest" in said and "v2 against, PrivateTest" in said
    assert re.search(r"^v1 +quick +\w+\+? +\d+\.\d+ +\d+\.\d+ +\d+\.\d+$", said, re.M), said


@pytest.mark.parametrize("command", [["fetch", "--output", ""], ["score", ""], ["submit", "", "--message", "x"]])
def test_an_empty_path_is_an_error(remote, capfd, command):
    with pytest.raises(SystemExit, match="2"):
        remote(*command)
    assert "the path is empty" in capfd.readouterr().err


def test_a_submission_is_sent_where_kaggle_takes_one(complete):
    assert "nothing is fetched" in complete.error("submit", code=2)
    complete("fetch")
    assert "Successfully submitted" in complete("submit", "--message", "a try")
    (sent,) = complete.kaggle.submissions
    assert sent["content"] == (on_kaggle(complete) / "submission.csv").read_bytes()
    assert sent["submissionDescription"] == "a try"


def test_a_submission_whose_answer_was_lost_is_not_sent_again(complete, left):
    complete.kaggle.fail("CreateSubmission", 500, "lost", after=True)
    assert "it may have arrived" in complete.error("submit", str(left / "submission.csv"), code=1)
    assert len(complete.kaggle.submissions) == 1


@pytest.mark.parametrize(("status", "words"), [(400, "The deadline has passed"), (403, "not allowed")])
def test_where_kaggle_takes_no_late_submission_that_is_said(complete, left, status, words):
    complete.kaggle.fail("StartSubmissionUpload", status, words, times=9)
    error = complete.error("submit", str(left / "submission.csv"), code=1)
    assert words in error and "`score` says what it would have scored" in error


def test_an_upload_that_does_not_get_through_is_said(complete, left):
    complete.kaggle.fail("upload", 400, "broken", times=9)
    assert "the upload failed" in complete.error("submit", str(left / "submission.csv"), code=1)


def test_a_submission_that_was_changed_since_is_neither_scored_nor_sent(complete):
    complete("fetch")
    file = complete.root / "output/kernel/v1/submission.csv"
    file.write_bytes(file.read_bytes()[:-2] + b"5\n")
    for command in (["score"], ["submit"], ["score", str(file)], ["submit", str(file)]):
        assert "submission.csv: changed since the run wrote it" in complete.error(*command, code=2)
    assert not [name for name, _ in complete.kaggle.calls if "ubmission" in name]


def test_the_submission_of_an_older_run_is_not_taken_for_that_of_a_kernel_that_left_none(complete, monkeypatch):
    monkeypatch.chdir(complete.root)
    assert "files in output/kernel/v1\n" in complete("fetch")
    assert "newest version: output/kernel/v1/submission.csv\n" in complete("score")
    (complete.root / "output/kernel/v2").mkdir()
    for command in ("score", "submit"):
        assert "output/kernel/v2/submission.csv: the newest fetched run has none" in complete.error(command, code=2)
    assert complete.kaggle.submissions == [] and "v1 " in complete("submissions")


def test_what_a_run_tracked_offline_is_fetched_with_the_command_that_uploads_it(complete):
    offline = "tracking/wandb/offline-run-20260101_000000-abcd1234"
    for name in (f"{offline}/run-abcd1234.wandb", f"{offline}/files/requirements.txt", "members/compact_cnn/wandb_id"):
        file = on_kaggle(complete) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"tracked")
    said = complete("fetch")
    home = complete.root / "output/kernel/v1"
    assert (home / offline / "run-abcd1234.wandb").read_bytes() == b"tracked"
    assert f"cd {home / 'tracking'} && wandb sync wandb/offline-run-*" in said.replace("\n    ", " ")
