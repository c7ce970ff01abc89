"""What the real W&B package writes offline in a run, read back from its files."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import pytest

from src import models
from src.dataset import CLASS_NAMES
from src.run.run_folder import RunFolder
from src.trackers import wandb_tracker
from src.trackers.tracker import TrackedTraining
from src.trackers.wandb_tracker import WandbTracker, choose_mode, sync_command
from tests.support.wandb_files import offline_runs
from tests.support.wandb_server import KEY as SERVER_KEY
from tests.support.wandb_server import wandb_server


@pytest.fixture(scope="module")
def starts(tracked_run):
    """The W&B runs of the two starts."""
    found = offline_runs(tracked_run.folder / "tracking")
    assert len(found) == 2
    return found


def test_project_group_name_and_tags(tracked_run, starts):
    record = RunFolder(tracked_run.folder).read_record()
    for start in starts:
        assert start.run.project == "facial-expression-recognition" and start.run.display_name == "small"
        assert list(start.run.tags) == [models.family("compact_cnn"), record.data_digest, "tiny"]
        assert start.run.run_group.startswith("tiny-") and start.run.run_group == starts[0].run.run_group


def test_a_resumed_training_continues_in_the_same_run(tracked_run, starts):
    kept = (tracked_run.folder / "members/small/wandb_id").read_text()
    assert [start.run.run_id for start in starts] == [kept, kept]
    assert [start.exit_code for start in starts] == [1, 0]
    epochs = [[row["epoch"] for row in start.rows if "valid/accuracy" in row] for start in starts]
    assert epochs == [[1], [2]]


def test_the_config_has_all_settings_and_the_architecture(starts):
    config = starts[0].config
    assert config["member"]["lr"] == 3e-3 and config["member"]["augment"]["rotation"] == 0
    assert config["folds"] == 5 and config["recipe"] == "tiny"
    architecture = config["architecture"]
    assert architecture["network"] == "compact_cnn" and architecture["parameters"] > 1e5
    assert "Conv2d" in architecture["layers"]


def test_the_metrics_are_those_of_history_csv_in_per_cent(tracked_run, starts):
    table = pd.read_csv(tracked_run.folder / "members/small/history.csv")
    rows = [row for start in starts for row in start.rows if "valid/accuracy" in row]
    names = {"train/loss": "train_loss", "lr": "lr", "seconds": "seconds", "valid/loss": "valid_loss"}
    names |= {f"{n.replace('_', '/')}": f"{n}_percent" for n in ("train_accuracy", "valid_accuracy", "valid_f1")}
    for name, column in names.items():
        np.testing.assert_allclose([row[name] for row in rows], table[column], rtol=1e-5)
    steps = [row["step"] for start in starts for row in start.rows if "batch/loss" in row]
    assert steps == sorted(set(steps)) and len(steps) > 4


def test_the_summary_has_the_best_figures(tracked_run, starts):
    result = RunFolder(tracked_run.folder).read_results(["small"])["small"]
    summary = starts[1].summary
    assert math.isclose(summary["best_valid_accuracy"], 100 * result.valid_accuracy)
    assert summary["best_epoch"] == result.best_epoch and summary["parameters"] == result.parameters


def test_confusion_matrix_curves_and_a_table_with_pictures(tracked_run, starts):
    (row,) = [row for row in starts[1].rows if "samples._type" in row]
    tables = {}
    for key in ("samples", "confusion_matrix_table", "precision_recall_table", "roc_table"):
        tables[key] = json.loads((starts[1].folder / "files" / row[f"{key}.path"]).read_text())
    assert sum(count for *_, count in tables["confusion_matrix_table"]["data"]) == 30  # validation rows
    assert {line[0] for line in tables["precision_recall_table"]["data"]} <= set(CLASS_NAMES)
    samples = tables["samples"]
    assert samples["columns"][:4] == ["face", "row", "label", "predicted"] and len(samples["data"]) == 16
    artifact = next(a for a in starts[1].artifacts.values() if a.name.endswith("-samples"))
    pictures = [entry for entry in artifact.manifest.contents if entry.path.endswith(".png")]
    folder = tracked_run.folder / "tracking"
    assert len(pictures) == 16 and all((folder / e.local_path).stat().st_size == e.size for e in pictures)


def test_the_best_weights_are_an_artifact_with_metadata(tracked_run, starts):
    (artifact,) = [a for a in starts[1].artifacts.values() if a.type == "model"]
    metadata, (entry,) = json.loads(artifact.metadata), artifact.manifest.contents
    assert metadata["network"] == "compact_cnn" and "best_valid_accuracy" in metadata and "best" in artifact.aliases
    path = tracked_run.folder / "tracking" / entry.local_path
    assert path.resolve() == (tracked_run.folder / "members/small/model.safetensors").resolve()


def test_a_copied_run_has_all_that_the_upload_needs(starts):
    entries = [e for start in starts for a in start.artifacts.values() for e in a.manifest.contents]
    assert entries and not [e.local_path for e in entries if os.path.isabs(e.local_path)]  # noqa: PTH117


def test_nothing_is_sent_no_process_and_no_file_elsewhere_is_left(tracked_run):
    assert not tracked_run.asked
    assert not [name for name in tracked_run.children if "wandb" in name]
    assert not [path for path in tracked_run.home.rglob("*") if "wandb" in path.name]
    assert "wandb sync wandb/offline-run-*" in (tracked_run.folder / "log.txt").read_text()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Tests of remote may have set a proxy for the whole process; the servers here are reached without one."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def server_environment(server, home) -> dict[str, str]:
    """The environment of a user of the server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return kept | {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": SERVER_KEY, "HOME": str(home), "NO_PROXY": "*"}


def test_the_printed_command_uploads_all_of_a_run_that_was_moved(tracked_run, starts, tmp_path):
    """Two starts become one run, and the files of artifacts are found in the new place."""
    moved = tmp_path / "another place" / "run"
    shutil.copytree(tracked_run.folder, moved)
    command = sync_command(moved / "tracking").replace("wandb sync", f"{sys.executable} -m wandb sync")
    with wandb_server() as server:
        environment = server_environment(server, tmp_path)
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    ((run_id, history),) = server.history.items()
    assert run_id == starts[0].run.run_id
    assert [row["epoch"] for row in history if "valid/accuracy" in row] == [1, 2]
    assert server.files["model.safetensors"] == (moved / "members/small/model.safetensors").read_bytes()
    entries = [entry for start in starts for a in start.artifacts.values() for entry in a.manifest.contents]
    assert {entry.path for entry in entries} <= server.files.keys()


def test_online_what_is_logged_is_uploaded_at_the_end(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    with wandb_server() as server:
        for name, value in server_environment(server, tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        assert choose_mode() == ("online", "")
        tracker = WandbTracker(TrackedTraining("m", "g", ("a",), {"lr": 1}, tmp_path / "tracking", tmp_path / "id"))
        tracker.log_epoch(1, {"valid/accuracy": 50.0})
        tracker.close(failed=False)
    (row,) = server.history[(tmp_path / "id").read_text()]
    assert row["valid/accuracy"] == 50.0 and row["epoch"] == 1


KEY = {"WANDB_API_KEY": "0" * 40}


@pytest.mark.parametrize(
    ("variables", "reachable", "mode", "reason"),
    [
        ({}, True, "offline", "no API key"),
        (KEY, True, "online", ""),
        (KEY, False, "offline", "does not answer"),
        (KEY | {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, True, "offline", "in a pushed kernel"),
        (KEY | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, True, "online", ""),
        (KEY | {"WANDB_MODE": "offline"}, True, "offline", "WANDB_MODE=offline"),
    ],
)
def test_it_is_offline_in_a_pushed_kernel_and_without_a_key_or_a_network(
    monkeypatch, tmp_path, variables, reachable, mode, reason
):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "KAGGLE_KERNEL_RUN_TYPE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wandb_tracker, "is_reachable", lambda server: reachable)
    found = choose_mode()
    assert found[0] == mode and reason in found[1]


def test_the_key_that_wandb_login_stores_is_found(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password " + "0" * 40 + "\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    assert wandb_tracker.has_key("https://api.wandb.ai") and not wandb_tracker.has_key("https://elsewhere.example")
    (tmp_path / ".netrc").write_bytes(b"machine api.wandb.ai login \xff password x\n")
    assert not wandb_tracker.has_key("https://api.wandb.ai")


@contextmanager
def http_server(status: int):
    """A server that answers each GET with the status; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (404, True), (407, False), (502, False), (503, False)])
def test_a_proxy_that_did_not_reach_the_server_is_no_answer_of_it(monkeypatch, status, reachable):
    with http_server(status) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert wandb_tracker.is_reachable("http://wandb.example") is reachable


def test_a_proxy_of_an_earlier_time_is_not_asked(monkeypatch):
    with http_server(200) as proxy:
        former = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
        monkeypatch.setattr(urllib.request, "_opener", former)
        assert not wandb_tracker.is_reachable("http://localhost:notaport")


def test_a_server_that_is_none_is_not_reachable():
    assert not wandb_tracker.is_reachable("http://localhost:notaport")
    with socket.create_server(("127.0.0.1", 0)) as server:  # its answer is not HTTP
        answer = threading.Thread(target=lambda: server.accept()[0].sendall(b"SSH-2.0-server\r\n" * 9), daemon=True)
        answer.start()
        assert not wandb_tracker.is_reachable(f"http://127.0.0.1:{server.getsockname()[1]}")
        answer.join(10)
