"""`predict` says of pictures what the run said of the same faces, and leaves the run alone."""

import csv
import io
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src import models
from src.data.competition import read_competition
from src.dataset import CLASS_NAMES
from src.ensemble.blend import blend
from src.ensemble.predictions import load_predictions
from src.files import digest
from src.main import main
from src.run.predict import notes_of
from src.run.run_folder import RunFolder
from tests.conftest import fake_bundle
from tests.support.browser import check_page
from tests.support.html import Elements
from tests.support.small_runs import MEMBERS, train
from tests.support.training import tiny

EVIL = "<img src=x onerror=alert(1)>.png"
PICTURES = 5


@pytest.fixture(scope="module")
def small_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.NETWORKS, "tiny", tiny)
        yield


@pytest.fixture(scope="module")
def run(small_network, faces, tmp_path_factory) -> Path:
    """A run of two members that average two views."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    train(faces, folder, "network=tiny", "tta=flip", report=False)
    return folder


@pytest.fixture(scope="module")
def pictures(faces, tmp_path_factory) -> Path:
    """The first test faces as pictures, one with a name that looks like HTML, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(read_competition(faces).test.images[:PICTURES]):
        Image.fromarray(image).convert("RGB" if number % 2 else "L").save(folder / f"{number}.png")
    (folder / "0.png").rename(folder / f"0{EVIL}")
    (folder / "notes.txt").write_text("no picture")
    return folder


def predict(*arguments: object) -> tuple[int, str]:
    """The exit code, and what the terminal got."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = main(["predict", *map(str, arguments), "--device", "cpu"], fake_bundle())
    return code, said.getvalue()


@pytest.fixture(scope="module")
def predicted(run, pictures, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("predicted")
    code, said = predict(run, pictures, "--output", folder)
    assert code == 0
    return folder, said


def rows_of(folder: Path) -> list[dict]:
    return list(csv.DictReader((folder / "predictions.csv").read_text("utf-8").splitlines()))


def test_the_table_has_what_the_run_predicted_of_the_same_faces(run, predicted, pictures):
    expected = blend([load_predictions(run / "predictions" / f"{name}.npz") for name in MEMBERS]).test[:PICTURES]
    rows = rows_of(predicted[0])
    assert [row["file"] for row in rows] == [
        str(pictures / name) for name in (f"0{EVIL}", *(f"{n}.png" for n in range(1, 5)))
    ]
    found = np.array([[float(row[name]) for name in CLASS_NAMES] for row in rows])
    assert np.allclose(found, expected, atol=2e-3)  # bf16 depends on the size of the batch
    assert [row["class"] for row in rows] == [CLASS_NAMES[label] for label in found.argmax(1)]


def test_the_terminal_names_classes_what_was_left_out_and_what_is_expected(predicted):
    folder, said = predicted
    assert rows_of(folder)[1]["class"] in next(line for line in said.splitlines() if "1.png" in line)
    assert "notes.txt: no picture" in " ".join(said.split()) and "one centred face" in " ".join(said.split())
    assert max(map(len, said.splitlines())) < 120 and str(folder / "predictions.csv") in said


def test_the_page_shows_each_picture_with_the_maps_of_each_member(predicted):
    page = Elements((predicted[0] / "predictions.html").read_text("utf-8"))
    images = [item for tag, item in page.elements if tag == "img"]
    assert len(images) == PICTURES * (1 + len(MEMBERS)) and "Grad-CAM" in page.text
    assert all(image["src"].startswith("data:image/png") for image in images)
    assert EVIL in page.text and not [item for _, item in page.elements if "onerror" in item]
    assert "notes.txt" in page.text and (predicted[0] / "figures" / "picture-5.png").exists()


def test_a_browser_shows_the_page(browser, predicted):
    check_page(browser, predicted[0] / "predictions.html")


def test_a_member_without_weights_is_named_and_the_others_predict(run, pictures, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "members" / MEMBERS[0] / "model.safetensors").unlink()
    code, said = predict(copy, pictures / "1.png", "--output", tmp_path / "out")
    alone = load_predictions(run / "predictions" / f"{MEMBERS[1]}.npz").test[1]
    found = [float(rows_of(tmp_path / "out")[0][name]) for name in CLASS_NAMES]
    assert code == 0 and f"the weights of {MEMBERS[0]} are missing" in said and np.allclose(found, alone, atol=2e-3)


def test_a_submission_that_is_blended_in_another_way_is_said(run):
    record = RunFolder(run).read_record()
    stacked = replace(record, ensemble=replace(record.ensemble, members=list(MEMBERS), method="stacking"))
    assert notes_of(record, list(MEMBERS)) == [] and notes_of(stacked, [MEMBERS[0]])[0].startswith("the weights of")
    assert notes_of(stacked, list(MEMBERS)) == ["the submission is blended by stacking; here it is the mean"]


def lose_weights(run: Path) -> None:
    for file in run.glob("members/*/model.safetensors"):
        file.unlink()


def change_weights(run: Path) -> None:
    (run / "members" / MEMBERS[0] / "model.safetensors").write_bytes(b"other")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_weights, ["model.safetensors", "remote fetch --weights"]),
        (change_weights, ["changed since the run wrote it"]),
        (lambda run: (run / "run.json").unlink(), ["no run.json", "folder of a run"]),
        (lambda run: (run / "run.json").write_text("{"), ["run.json", "run or fetch it again"]),
    ],
)
def test_a_folder_without_networks_is_refused(run, pictures, tmp_path, capsys, damage, words):
    copy = shutil.copytree(run, tmp_path / "run")
    damage(copy)
    assert predict(copy, pictures, "--output", tmp_path / "out")[0] == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and len(error.splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_a_runs_folder_is_no_output_and_nothing_of_the_run_changes(run, pictures, capsys):
    before = {file: digest(file) for file in run.rglob("*") if file.is_file()}
    assert predict(run, pictures, "--output", run)[0] == 2
    assert "holds a run" in capsys.readouterr().err
    assert {file: digest(file) for file in run.rglob("*") if file.is_file()} == before


def test_without_a_picture_and_with_a_file_as_output_it_is_an_error(run, pictures, tmp_path, capsys):
    assert predict(run, pictures / "notes.txt", "--output", tmp_path / "out")[0] == 2
    assert "notes.txt: no picture" in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    assert predict(run, pictures, "--output", tmp_path / "file")[0] == 2
    assert "is a file" in capsys.readouterr().err
