"""Uploading weights: a private dataset, a new version of it, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remote import upload_weights
from src.models import weight_files
from tests.conftest import ROOT
from tests.support.metadata import write_metadata


@pytest.fixture
def backbone(tmp_path) -> Path:
    folder = tmp_path / "backbone"
    folder.mkdir()
    (folder / "resnet18.safetensors").write_bytes(b"w" * 1000)
    (folder / "config.json").write_text("{}")
    return folder


def test_weights_become_a_private_dataset_and_a_source(remote, backbone):
    assert "tester/backbone-weights is uploaded" in remote("weights", str(backbone))
    uploaded = remote.kaggle.datasets["tester/backbone-weights"]
    assert {f.name for f in uploaded.iterdir()} == {"resnet18.safetensors", "config.json"}
    created = next(body for name, body in remote.kaggle.calls if name == "CreateDataset")
    assert created["isPrivate"]
    (backbone / "resnet18.safetensors").write_bytes(b"v" * 900)
    remote("weights", str(backbone))
    assert (uploaded / "resnet18.safetensors").read_bytes() == b"v" * 900
    assert remote.kaggle.count("CreateDatasetVersion") == remote.kaggle.count("CreateDataset") == 1
    remote("push")
    assert remote.pushes[-1]["datasetDataSources"] == ["tester/backbone-weights"]


def test_metadata_of_the_users_own_is_neither_sent_nor_changed(remote, backbone):
    own = backbone / "dataset-metadata.json"
    own.write_text('{"id": "me/mine", "title": "my own text"}')
    remote("weights", str(backbone))
    assert own.read_text() == '{"id": "me/mine", "title": "my own text"}'
    uploaded = remote.kaggle.datasets["tester/backbone-weights"]
    assert {f.name for f in uploaded.iterdir()} == {"resnet18.safetensors", "config.json"}


def test_a_dataset_is_taken_out_of_the_sources_without_a_call(remote, backbone):
    remote("weights", str(backbone))
    before = len(remote.kaggle.calls)
    assert "tester/backbone-weights is no source" in remote("weights", "--remove", "backbone-weights")
    assert len(remote.kaggle.calls) == before and "tester/backbone-weights" in remote.kaggle.datasets
    remote("push")
    assert remote.pushes[-1]["datasetDataSources"] == []
    assert "has: none" in remote.error("weights", "--remove", "backbone-weights", code=2)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_error_and_the_work_is_done(tmp_path, unbuffered):
    file = write_metadata(tmp_path, dataset_sources=["me/weights"])
    start = "from pathlib import Path; from sys import argv, exit; from remote.main import main"
    command = f"{start}; exit(main(argv[2:], Path(argv[1])))"
    read, write = os.pipe()
    os.close(read)
    arguments = [sys.executable, "-c", command, tmp_path, "weights", "--remove", "weights"]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(arguments, cwd=ROOT, env=env, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"") and '"dataset_sources": []' in file.read_text()


def test_weights_wants_a_folder_or_a_name_to_remove(remote, backbone):
    assert "DIR" in remote.error("weights", code=2)
    assert "DIR" in remote.error("weights", str(backbone), "--remove", "backbone-weights", code=2)


def test_a_folder_without_weights_is_refused(remote, backbone, tmp_path):
    (backbone / "resnet18.safetensors").write_bytes(b"")
    assert "is empty" in remote.error("weights", str(backbone), code=2)
    (backbone / "resnet18.safetensors").unlink()
    assert ".safetensors" in remote.error("weights", str(backbone), code=2)
    assert "no such folder" in remote.error("weights", str(tmp_path / "gone"), code=2)


def test_what_a_downloader_leaves_in_hidden_folders_is_not_uploaded(backbone):
    lock = backbone / "resnet34/.cache/huggingface/model.safetensors.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert all(".cache" not in file.parts for file in upload_weights.weight_files(backbone))


def test_weights_that_do_not_get_through_are_said(remote, backbone):
    remote.kaggle.fail("upload", 400, "broken", times=9)
    assert "the upload of resnet18.safetensors" in remote.error("weights", str(backbone), code=1)
    assert "weights" not in (remote.root / "kernel-metadata.json").read_text()


@pytest.mark.parametrize("name", ["w.CKPT", "w.pth.tar", "w.t7"])
def test_every_ending_that_a_run_reads_can_be_uploaded(tmp_path, name):
    (tmp_path / name).write_bytes(b"w")
    assert upload_weights.weight_files(tmp_path) == [tmp_path / name]
    assert upload_weights.SUFFIXES == weight_files.SUFFIXES
