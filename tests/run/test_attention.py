"""Maps that are recorded during a training: those of its epochs, and at no cost to its result."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src import config, models, recipes
from src.data.competition import read_competition
from src.errors import UserError
from src.report.attention import maps_of, scaled
from src.report.attention_history import fixed_faces, load_attention
from src.run import attention
from src.run.attention import add_epoch
from src.run.run_folder import RunFolder
from tests.support.networks import random_faces
from tests.support.small_runs import MEMBERS, read_log, train, train_killed, weights
from tests.support.training import tiny

SETTINGS = ("network=tiny", "epochs=4", "dropout=0.3", "ema=0.9")


@pytest.fixture(scope="module", autouse=True)
def small_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.NETWORKS, "tiny", tiny)
        yield


@pytest.fixture(scope="module")
def plain(faces, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    train(faces, folder, *SETTINGS, report=False)
    return folder


@pytest.fixture(scope="module")
def watched(faces, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("watched") / "run"
    train(faces, folder, *SETTINGS, "attention_maps_every=2", report=False)
    return folder


def maps_file(run: Path, number: int = 0) -> Path:
    return RunFolder(run).attention_maps(MEMBERS[number])


def history(run: Path, number: int = 0):
    return load_attention(maps_file(run, number))


def test_the_weights_are_bitwise_those_of_a_training_without_maps(plain, watched):
    assert weights(watched) == weights(plain)
    predictions = [np.load(run / "predictions" / f"{MEMBERS[1]}.npz")["probs"] for run in (plain, watched)]
    assert np.array_equal(*predictions) and not maps_file(plain).exists()


def test_the_first_and_each_second_epoch_are_recorded_for_eight_validation_faces(watched, faces):
    found, data = history(watched), read_competition(faces)
    assert found.epochs.tolist() == [1, 2, 4] and found.probs.shape == (3, 8, 7)
    assert {kind: maps.shape for kind, maps in found.maps.items()} == {"Grad-CAM": (3, 8, 48, 48)}
    assert len(np.unique(found.labels)) >= 6 and not np.array_equal(*found.maps["Grad-CAM"][[0, 2]])
    known = {image.tobytes(): label for image, label in zip(data.train.images, data.train.labels, strict=True)}
    assert all(known[image.tobytes()] == label for image, label in zip(found.images, found.labels, strict=True))
    assert np.array_equal(found.images, history(watched, 1).images)


def test_run_json_has_the_digest_and_the_setting_is_not_counted_in_the_hash(watched):
    record = RunFolder(watched).read_record()
    assert f"members/{MEMBERS[0]}/attention_maps.npz" in record.files
    recipe = recipes.get("quick")
    assert config.config_hash(config.override(recipe, ["attention_maps_every=3"])) == config.config_hash(recipe)


def test_a_training_without_validation_rows_has_maps_of_training_faces(faces, tmp_path):
    settings = ("network=tiny", "epochs=2", "fold=none")
    train(faces, tmp_path / "a", *settings, report=False)
    train(faces, tmp_path / "b", *settings, "attention_maps_every=1", report=False)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert history(tmp_path / "b").epochs.tolist() == [1, 2]


def test_a_killed_training_continues_its_maps(faces, watched, tmp_path):
    settings = (*SETTINGS, "attention_maps_every=2")
    train_killed(lambda trainer, state: state.epochs == 3, faces, tmp_path / "run", *settings)
    assert history(tmp_path / "run").epochs.tolist() == [1, 2]
    train(faces, tmp_path / "run", *settings, report=False)
    found, whole = history(tmp_path / "run"), history(watched)
    assert found.epochs.tolist() == [1, 2, 4]
    assert np.array_equal(found.maps["Grad-CAM"], whole.maps["Grad-CAM"])


def test_a_fault_in_the_maps_is_a_warning_and_the_training_is_the_same(faces, plain, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(attention, "maps_of", broken)
    record = train(faces, tmp_path / "run", *SETTINGS, "attention_maps_every=2", report=False)
    assert record.status == "finished" and weights(tmp_path / "run") == weights(plain)
    assert read_log(tmp_path / "run").count("no maps of epoch 2 (RuntimeError: a defect)") == len(MEMBERS)


# ------------------------------------------------------------------------------------------- the file


def test_fixed_faces_are_the_first_of_each_class_then_the_second():
    assert fixed_faces(np.array([3, 3, 3, 0, 6, 0])).tolist() == [3, 0, 4, 5, 1, 2]
    assert fixed_faces(np.repeat(np.arange(7), 3)).tolist() == [0, 3, 6, 9, 12, 15, 18, 1]


def test_an_epoch_replaces_what_was_recorded_of_it_and_of_later_ones(tmp_path):
    file, images = tmp_path / "maps.npz", (random_faces(2).abs() * 80).byte()
    for seed, epoch in enumerate((1, 2, 3, 2)):
        torch.manual_seed(seed)
        add_epoch(file, epoch, tiny(), images, torch.tensor([4, 5]))
    found = load_attention(file)
    torch.manual_seed(3)
    expected = maps_of(tiny(), images)["Grad-CAM"]
    assert found.epochs.tolist() == [1, 2] and np.array_equal(found.images, images[:, 0])
    assert np.array_equal(found.maps["Grad-CAM"][1], np.stack([scaled(one) for one in expected]))


@pytest.mark.parametrize("damage", [b"", b"PK", None, "other shapes"])
def test_a_file_that_is_damaged_is_refused_and_written_again(tmp_path, damage):
    file, images = tmp_path / "maps.npz", (random_faces(2).abs() * 80).byte()
    if damage == "other shapes":
        np.savez(file, images=images[:, 0], labels=np.zeros(3), epochs=np.zeros(1), probs=np.zeros(1))
    elif damage is not None:
        file.write_bytes(damage)
    with pytest.raises(UserError, match=r"damaged|cannot be read"):
        load_attention(file)
    add_epoch(file, 5, tiny(), images, torch.tensor([0, 1]))
    assert load_attention(file).epochs.tolist() == [5]
