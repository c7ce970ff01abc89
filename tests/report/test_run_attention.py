"""A run's report shows the same faces under the maps of each member, and how attention has formed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from src import models
from src.data.augment import preprocess
from src.data.competition import Competition, read_competition
from src.dataset import CLASS_NAMES
from src.models.trained import load_trained, member_of_training
from src.report import run_report
from src.report.attention import coloured, scaled
from src.report.attention_history import load_attention, save_attention
from src.report.faces import Face
from src.report.grad_cam import grad_cam
from src.report.page import Notice, Page, Section, Table, write_page
from src.report.run_attention import attention_blocks, attention_history_blocks, member_columns, shown_rows
from src.report.run_files import RunFiles, read_run
from src.report.run_report import SECTIONS, write_report
from src.run.run_folder import RunFolder
from tests.support.browser import check_page
from tests.support.html import Elements
from tests.support.small_runs import MEMBERS, train
from tests.support.training import tiny


@pytest.fixture(scope="module")
def data(faces) -> Competition:
    return read_competition(faces)


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory) -> Path:
    """Two small networks after two epochs, whose maps are recorded after each."""
    folder = tmp_path_factory.mktemp("attention") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.NETWORKS, "tiny", tiny)
        train(faces, folder, "network=tiny", "epochs=2", "attention_maps_every=1", "lr=3e-3", report=False)
        yield folder


@pytest.fixture(scope="module")
def run(trained, data) -> RunFiles:
    return read_run(trained, data)


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def table_of(blocks: list) -> Table:
    (table,) = [block for block in blocks if isinstance(block, Table)]
    return table


def test_each_row_is_one_face_under_the_maps_of_each_member(run, data):
    table = table_of(attention_blocks(run))
    assert list(table.header) == ["face", *(f"{name}\nGrad-CAM" for name in MEMBERS)]
    rows = shown_rows(run, run.predictions[MEMBERS[0]])
    assert len(table.rows) == len(rows) == len(set(rows))
    for row, (stored, *mapped) in zip(rows, table.rows, strict=True):
        label = data.train.labels[row]
        assert np.array_equal(stored.image, data.train.images[row]) and stored.lines[0] == CLASS_NAMES[label]
        for name, face in zip(MEMBERS, mapped, strict=True):
            one = run.predictions[name]
            best = int(one.valid[list(one.valid_rows).index(row)].argmax())
            assert face.image.shape == (48, 48, 3) and face.lines[0].startswith(CLASS_NAMES[best])
            assert face.mark == ("right" if best == label else "wrong")


def test_a_map_is_of_the_class_that_is_named_below_it(run, data):
    """The named class comes from several views, and need not be that of the face as it is stored."""
    one, member = run.predictions[MEMBERS[0]], member_of_training(run.record["recipe"], MEMBERS[0])
    net = load_trained(member, run.weights_file(MEMBERS[0])).eval()
    images = torch.from_numpy(data.train.images[one.valid_rows[:6]]).unsqueeze(1)
    single = net(preprocess(images)).argmax(1).numpy()
    others = (single + 1) % 7
    named = replace(one, valid_rows=one.valid_rows[:6], valid=np.eye(7, dtype=np.float32)[others])
    ((_, faces),) = member_columns(run, MEMBERS[0], named, one.valid_rows[:6], images[:, 0].numpy())
    expected = grad_cam(net, preprocess(images), torch.from_numpy(others)).numpy()
    for face, image, found, label in zip(faces, images[:, 0].numpy(), expected, others, strict=True):
        assert np.array_equal(face.image, coloured(image, scaled(found)))
        assert face.lines[0].startswith(CLASS_NAMES[label])
    assert np.abs(expected - grad_cam(net, preprocess(images)).numpy()).max() > 1e-6


def test_shown_are_confident_rights_and_errors_of_different_classes(run, data):
    rows = np.arange(0, 60)
    probs = np.full((60, 7), 0.01)
    labels = data.train.labels[rows]
    guesses = np.where(rows % 2, labels, (labels + 1) % 7)
    probs[rows, guesses] = 0.2 + rows / 100
    found = shown_rows(run, replace(run.predictions[MEMBERS[0]], valid_rows=rows, valid=probs))
    rights, errors = [row for row in found if row % 2], [row for row in found if not row % 2]
    assert len(rights) == len(errors) == 4 and [*rights, *errors] == list(found)
    for part in (rights, errors):
        assert len(set(labels[part])) == 4 and part == sorted(part, reverse=True)
        assert all(row == max(r for r in rows if r % 2 == row % 2 and labels[r] == labels[row]) for row in part)


def test_a_member_of_another_fold_is_not_shown_on_faces_that_it_has_learnt(run):
    other = replace(run.predictions[MEMBERS[1]], valid_rows=run.predictions[MEMBERS[1]].valid_rows + 1)
    part = replace(run, predictions={MEMBERS[0]: run.predictions[MEMBERS[0]], MEMBERS[1]: other})
    blocks = attention_blocks(part)
    assert [heading.split("\n")[0] for heading in table_of(blocks).header] == ["face", MEMBERS[0]]
    assert "Members that are not shown: 1." in blocks


def test_a_member_with_damaged_weights_is_a_notice_and_the_others_are_shown(copy, data):
    RunFolder(copy).weights_file(MEMBERS[0]).write_bytes(b"no weights")
    blocks = attention_blocks(read_run(copy, data))
    assert len(table_of(blocks).header) == 2
    assert next(block.text for block in blocks if isinstance(block, Notice)).startswith(f"{MEMBERS[0]} is not shown: ")


def test_without_weights_or_data_there_is_no_section(copy, data):
    assert attention_blocks(read_run(copy, None, "not there")) == []
    for name in MEMBERS:
        RunFolder(copy).weights_file(name).unlink()
    assert attention_blocks(read_run(copy, data)) == []


def test_the_maps_of_a_training_are_a_row_an_epoch(run, copy, data):
    _, *tables = attention_history_blocks(run)
    assert [table.caption for table in tables] == [f"{name}: Grad-CAM." for name in MEMBERS]
    assert [row[0] for row in tables[0].rows] == ["stored", "epoch 1", "epoch 2"]
    assert all(isinstance(face, Face) for row in tables[0].rows for face in row[1:]) and len(tables[0].rows[0]) == 9
    RunFolder(copy).attention_maps(MEMBERS[0]).write_bytes(b"damaged")
    blocks = attention_history_blocks(read_run(copy, data))
    assert sum(isinstance(block, Notice) for block in blocks) == 1 and sum(isinstance(b, Table) for b in blocks) == 1
    for file in copy.glob("members/*/attention_maps.npz"):
        file.unlink()
    assert attention_history_blocks(read_run(copy, data)) == []


def test_of_many_recorded_epochs_some_are_shown_with_the_first_and_the_last(copy, data):
    file = RunFolder(copy).attention_maps(MEMBERS[0])
    old = load_attention(file)
    places = np.arange(40) % 2
    maps = {f"{kind} {n}": one[places] for kind, one in old.maps.items() for n in range(9)}
    save_attention(file, replace(old, epochs=np.arange(1, 41), probs=old.probs[places], maps=maps))
    _, *tables, more = attention_history_blocks(read_run(copy, data))
    assert [row[0] for row in tables[0].rows] == ["stored", *(f"epoch {n}" for n in (1, 9, 17, 24, 32, 40))]
    assert tables[0].caption.endswith("6 of 40 recorded epochs.") and len(tables) == 8
    assert more == "Tables that are not shown: 2."


def test_a_browser_shows_both_sections(browser, run, tmp_path):
    sections = [Section("Where", attention_blocks(run)), Section("How", attention_history_blocks(run))]
    write_page(Page("Attention", "", sections), tmp_path / "page.html")
    check_page(browser, tmp_path / "page.html")


def test_the_report_has_both_sections(run, tmp_path, monkeypatch):
    makers = {name: make for name, make in SECTIONS.items() if make in (attention_blocks, attention_history_blocks)}
    monkeypatch.setattr(run_report, "SECTIONS", makers)  # without the charts, which take seconds
    assert write_report(run, tmp_path) == []
    text = Elements((tmp_path / "report.html").read_text("utf-8")).text
    assert "Where the networks look" in text and "How attention forms" in text and "could not be made" not in text


def test_a_map_is_drawn_from_violet_to_yellow_over_the_face():
    image, values = np.full((4, 4), 100, np.uint8), np.arange(16.0).reshape(4, 4) / 7
    shade = scaled(values)
    assert shade[0, 0] == 0 and shade[-1, -1] == 255 and (np.diff(shade.ravel()) > 0).all()
    assert not scaled(np.full((4, 4), 0.3)).any()
    found = coloured(image, shade).astype(int)
    assert found[-1, -1, 0] > found[-1, -1, 2] + 50 and found[0, 0, 2] > found[0, 0, 1] + 20
    assert coloured(image + 50, shade).mean() > found.mean() + 15
