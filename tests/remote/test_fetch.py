"""Fetching what a run left: in order of worth, checked, recorded, compared; and every way that it can come wrong."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import build
from remote import compare
from src.data import synthetic
from src.main import main as run_main
from tests.support.project import KERNEL, built_project, new_round


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return built_project(tmp_path_factory.mktemp("base") / "project")


@pytest.fixture(scope="module")
def left(base, faces, tmp_path_factory) -> Path:
    """What a run of the built script leaves in its output folder."""
    output = tmp_path_factory.mktemp("left")
    bundle = build.describe(base, build.collect(base)) | {"recipe": "quick", "overrides": ["epochs=1"]}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two that wait for each other on a busy machine take many times as long
    assert run_main(["run", "--device", "cpu", "--input", str(faces), "--output", str(output)], bundle) == 0
    torch.set_num_threads(threads)
    return output


@pytest.fixture
def remote(base, left, tmp_path, faces, monkeypatch, capfd):
    """A project whose kernel, version 1, is complete and has left a copy of `left`."""
    round_trip = new_round(base, tmp_path, faces, monkeypatch, capfd)
    monkeypatch.setenv("FER_INPUT", str(faces))
    left = shutil.copytree(left, tmp_path / "left")
    round_trip.kaggle.prepared = SimpleNamespace(working=left, events=[])
    with round_trip.kaggle:
        round_trip("push")
        round_trip.kaggle.kernels[KERNEL][-1].asked = 1  # it has left the queue
        yield round_trip


def on_kaggle(remote) -> Path:
    """The folder of the newest version's output on the server."""
    return remote.kaggle.kernels[KERNEL][-1].working


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_everything_but_the_weights_comes_home_and_is_recorded(remote, left):
    remote("fetch")
    home = remote.root / "output/kernel/v1"
    wanted = {name for name in names(left) if not name.endswith(".safetensors")}
    assert names(home) - {"fer2013-expressions.log"} == wanted
    assert all((home / name).read_bytes() == (left / name).read_bytes() for name in wanted)
    (recorded,) = remote.root.glob("results/quick-*")
    assert {"score.json", "run.json", "test_probs.npz"} <= names(recorded)
    assert "quick" in (remote.root / "results/README.md").read_text()
    assert "95 % interval" in remote("score")


def test_the_files_of_most_worth_come_first(remote):
    order = []
    remote.kaggle.fault = lambda name: order.append(name) if name.startswith("file ") else None
    remote("fetch", "--weights")
    kinds = ["submission|run.json", "predictions", "history|log|result", "safetensors"]
    found = [next(i for i, kind in enumerate(kinds) if re.search(kind, name)) for name in order]
    assert found == sorted(found) and set(found) == {0, 1, 2, 3}
    assert (remote.root / "output/kernel/v1/members/compact_cnn/model.safetensors").is_file()


@pytest.mark.parametrize("cut", ["told", "silent"])
@pytest.mark.parametrize("name", ["submission.csv", "compact_cnn.npz"])
def test_a_download_that_was_cut_in_half_is_fetched_again(remote, left, cut, name):
    remote.kaggle.fail(f"file .*{name}", cut=cut)
    remote("fetch")  # newer clients notice by themselves a length that does not agree, and repeat the download
    assert remote.kaggle.faults[0].times == 0
    (home,) = (remote.root / "output").rglob(name)
    assert home.read_bytes() == next(left.rglob(name)).read_bytes()


@pytest.mark.parametrize("name", ["submission.csv", "run.json", "history.csv", "model.safetensors"])
def test_a_download_that_is_always_cut_is_an_error_and_leaves_no_half_file(remote, name):
    remote.kaggle.fail(f"file .*{name}", cut="silent", times=99)
    error = remote.error("fetch", "--weights", code=1)
    assert name in error and "came damaged 3 times" in error
    assert not list((remote.root / "output").rglob(name)) and not list(remote.root.glob("results/quick-*"))


def test_an_error_page_in_the_place_of_a_file_is_noticed(remote):
    remote.kaggle.fail("file .*run.json", 404, "gone", plain=True, times=99)
    assert "run.json" in remote.error("fetch", code=1)  # older clients write the page into the file
    assert not list((remote.root / "output").rglob("run.json"))


@pytest.mark.parametrize("name", ["submission.csv", "members/compact_cnn/history.csv"])
def test_a_file_of_the_right_form_and_other_content_is_known_by_its_digest(remote, name):
    file = on_kaggle(remote) / name
    file.write_text(file.read_text()[:-2] + "0\n")
    assert f"{name} came damaged 3 times: its SHA-256" in remote.error("fetch", code=1)


def test_a_run_without_digests_is_still_checked_by_its_form(remote):
    file = on_kaggle(remote) / "run.json"
    content = json.loads(file.read_text())
    del content["files"]
    file.write_text(json.dumps(content))
    remote.kaggle.fail("file .*submission.csv", cut="silent", times=99)
    assert "submission.csv came damaged" in remote.error("fetch", code=1)


def test_output_of_other_sources_is_refused(remote):
    file = on_kaggle(remote) / "run.json"
    content = json.loads(file.read_text())
    content["code"]["digest"] = "f" * 16
    file.write_text(json.dumps(content))
    error = remote.error("fetch", code=1)
    assert "ffffffffffffffff" in error and "another version" in error


def test_predictions_of_another_recipe_are_refused(remote):
    file = on_kaggle(remote) / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"config_hash": "e" * 16}))
    assert "of another recipe" in remote.error("fetch", code=1)


def test_a_kernel_that_runs_has_nothing_to_fetch_yet(remote):
    remote.kaggle.prepared_status = "RUNNING"
    assert "still RUNNING" in remote.error("fetch", code=2)


def test_a_kernel_that_left_nothing_is_said(remote):
    shutil.rmtree(on_kaggle(remote))
    assert "left no run.json and no submission.csv" in remote.error("fetch", code=1)


def test_what_a_failed_kernel_left_comes_home_and_is_not_recorded(remote):
    remote.kaggle.prepared_status = "ERROR"
    frame = '  File "/tmp/fer2013-0-abc/src/train/fit.py", line 3, in step\n'
    text = f"Traceback (most recent call last):\n{frame}RuntimeError: out of memory\n"
    remote.kaggle.kernels[KERNEL][-1].events = [{"stream_name": "stderr", "time": 1, "data": text}]
    error = remote.error("fetch", code=1)
    assert "RuntimeError: out of memory (src/train/fit.py, line 3)" in error and "output/kernel/v1" in error
    assert (remote.root / "output/kernel/v1/submission.csv").is_file()
    assert list(remote.root.glob("results/quick-*")) == []


def test_without_the_competitions_files_it_comes_home_unrecorded(remote):
    said = remote("fetch", "--input", str(remote.root / "nothing"))
    assert "not in results/ yet" in said
    assert "no such folder" in remote.error("score", "--input", str(remote.root / "nothing"), code=2)


def test_other_data_than_the_runs_is_refused(remote, tmp_path):
    synthetic.write_files(tmp_path / "others", train=100, test=80, seed=9)
    assert "had the data" in remote.error("fetch", "--input", str(tmp_path / "others"), code=2)


def test_go_does_it_all(remote):
    said = remote("go", "--recipe", "quick", "--set", "epochs=1")
    assert all(words in said for words in ("version 2 pushed", "COMPLETE", "results/quick", "95 % interval"))


# What is made of it


def test_submissions_are_compared_on_the_same_rows(remote):
    assert "nothing is fetched" in remote.error("submissions", code=2)
    remote("fetch")
    other = shutil.copytree(remote.root / "output/kernel/v1", remote.root / "output/kernel/v2")
    rows = [line.split(",") for line in (other / "submission.csv").read_text().splitlines()]
    lines = [f"{row},{(int(label) + 1) % 7}" if row.isdecimal() else f"{row},{label}" for row, label in rows]
    (other / "submission.csv").write_text("\n".join(lines) + "\n")
    said = remote("submissions")
    assert "v2 against, PublicTest" in said and "v2 against, PrivateTest" in said
    assert re.search(r"^v1 +quick +\w+\+? +\d+\.\d+ +\d+\.\d+ +\d+\.\d+$", said, re.M), said


def test_the_paired_comparison_counts_the_rows_on_which_two_differ():
    first = np.array([True] * 60 + [False] * 40)
    second = np.array([True] * 50 + [False] * 40 + [True] * 10)
    pair = compare.paired(first, second)
    assert (pair.only_first, pair.only_second, pair.difference, pair.p) == (10, 10, 0.0, 1.0)
    assert compare.paired(first, first).p == 1.0 and compare.paired(first, first).half_width == 0
    better = compare.paired(first, np.zeros(100, bool))
    assert better.difference == pytest.approx(0.6) and better.p < 1e-15


def test_a_submission_is_sent_where_kaggle_takes_one(remote):
    assert "nothing is fetched" in remote.error("submit", code=2)
    remote("fetch")
    assert "Successfully submitted" in remote("submit", "--message", "a try")
    (sent,) = remote.kaggle.submissions
    assert sent["content"] == (on_kaggle(remote) / "submission.csv").read_bytes()
    assert sent["submissionDescription"] == "a try"


@pytest.mark.parametrize(("status", "words"), [(400, "The deadline has passed"), (403, "not allowed")])
def test_where_kaggle_takes_no_late_submission_that_is_said(remote, left, status, words):
    remote.kaggle.fail("StartSubmissionUpload", status, words, times=9)
    error = remote.error("submit", str(left / "submission.csv"), code=1)
    assert words in error and "`score` says what it would have scored" in error


def test_an_upload_that_does_not_get_through_is_said(remote, left):
    remote.kaggle.fail("upload", 400, "broken", times=9)
    assert "did not get through" in remote.error("submit", str(left / "submission.csv"), code=1)


# Weights


@pytest.fixture
def backbone(tmp_path) -> Path:
    folder = tmp_path / "backbone"
    folder.mkdir()
    (folder / "resnet18.safetensors").write_bytes(b"w" * 1000)
    (folder / "config.json").write_text("{}")
    return folder


def test_weights_become_a_private_dataset_and_a_source(remote, backbone):
    assert "tester/backbone-weights is there" in remote("weights", str(backbone))
    assert names(remote.kaggle.datasets["tester/backbone-weights"]) == {"resnet18.safetensors", "config.json"}
    created = next(body for name, body in remote.kaggle.calls if name == "CreateDataset")
    assert created["isPrivate"]
    (backbone / "resnet18.safetensors").write_bytes(b"v" * 900)
    remote("weights", str(backbone))
    assert (remote.kaggle.datasets["tester/backbone-weights"] / "resnet18.safetensors").read_bytes() == b"v" * 900
    assert remote.kaggle.count("CreateDatasetVersion") == remote.kaggle.count("CreateDataset") == 1
    remote("push")
    assert remote.pushes[-1]["datasetDataSources"] == ["tester/backbone-weights"]


def test_a_folder_without_weights_is_refused(remote, backbone, tmp_path):
    (backbone / "resnet18.safetensors").write_bytes(b"")
    assert "is empty" in remote.error("weights", str(backbone), code=2)
    (backbone / "resnet18.safetensors").unlink()
    assert ".safetensors" in remote.error("weights", str(backbone), code=2)
    assert "no such folder" in remote.error("weights", str(tmp_path / "gone"), code=2)


def test_weights_that_do_not_get_through_are_said(remote, backbone):
    remote.kaggle.fail("upload", 400, "broken", times=9)
    assert "the upload of resnet18.safetensors" in remote.error("weights", str(backbone), code=1)
    assert "weights" not in (remote.root / "kernel-metadata.json").read_text()
