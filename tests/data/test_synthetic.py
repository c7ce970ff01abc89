"""The made-up faces: repeatable, imbalanced and copied like FER2013, learnable, and the same in every form of files."""

import hashlib
import tarfile

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from src.data import competition, synthetic
from src.dataset import CLASS_NAMES

# The same with numpy 1.26 and 2.4, with and without its AVX2 loops: drawing is exact arithmetic throughout.
DIGEST = "0adb242ae3631abcd52737bd371d97e51d7f7acf1c6089bc5f1fb00f9533fac5"


@pytest.fixture(scope="module")
def some():
    return synthetic.faces(700, seed=3)


def copy_count(images):
    return len(images) - len(np.unique(images.reshape(len(images), -1), axis=0))


def test_shape_type_and_range(some):
    images, labels = some
    assert images.shape == (700, 48, 48) and images.dtype == np.uint8
    assert labels.shape == (700,) and labels.dtype == np.int64
    assert set(labels.tolist()) == set(range(7))
    assert images.min() < 20 and images.max() > 235


def test_no_face_is_flat(some):
    assert some[0].reshape(700, -1).std(axis=1).min() > 5


def test_a_seed_repeats_and_another_differs(some):
    images, labels = synthetic.faces(700, seed=3)
    assert np.array_equal(images, some[0]) and np.array_equal(labels, some[1])
    assert not np.array_equal(synthetic.faces(700, seed=4)[0], images)


def test_the_bytes_are_the_same_on_every_machine():
    images = synthetic.draw(np.arange(7).repeat(10), seed=1)
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGEST


def test_the_drawing_stays_in_single_precision(monkeypatch):
    """A stray float64 rounds differently in numpy 1 and 2, about once in five million pixels."""
    seen, cover = set(), synthetic._cover

    def watched(fields, distance):
        seen.add(distance.dtype)
        return cover(fields, distance)

    monkeypatch.setattr(synthetic, "_cover", watched)
    synthetic.draw(np.arange(7), seed=1)
    assert seen == {np.dtype(np.float32)}


def test_the_size_of_a_chunk_does_not_change_the_faces(monkeypatch):
    labels = np.arange(7).repeat(5)
    before = synthetic.draw(labels, seed=2)
    monkeypatch.setattr(synthetic, "CHUNK", 3)
    assert np.array_equal(synthetic.draw(labels, seed=2), before)


def test_imbalance_is_that_of_fer2013():
    assert synthetic.class_counts(28709).tolist() == list(synthetic.TRAINING_COUNTS)
    _, labels = synthetic.faces(2000, seed=0)
    shares = np.bincount(labels, minlength=7) / 2000
    assert np.abs(shares - np.array(synthetic.TRAINING_COUNTS) / 28709).max() < 0.015


@pytest.mark.parametrize("n", [1, 6, 7, 27, 28, 60, 101, 1440])
def test_counts_add_up_and_keep_the_rare_class(n):
    counts = synthetic.class_counts(n)
    assert counts.sum() == n and counts.min() >= min(4, n // 7)


def test_copies_are_there_and_agree_on_the_label(some):
    images, labels = some
    assert copy_count(images) == 28
    with_label = np.column_stack([images.reshape(700, -1), labels])
    assert copy_count(with_label) == 28
    assert copy_count(synthetic.faces(300, seed=3, copies=0)[0]) == 0


def test_expressions_can_be_learnt(some):
    """Even a linear reader of 24x24 pixels is far above the 25 % of always answering Happy."""
    train = synthetic.faces(1000, seed=5, copies=0)
    small = [images.reshape(-1, 24, 2, 24, 2).mean(axis=(2, 4)).reshape(-1, 576) for images in (train[0], some[0])]
    reader = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(small[0], train[1])
    assert reader.score(small[1], some[1]) > 0.6


@pytest.mark.parametrize("labels", [[7], [-1], [[0, 1]]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be"):
        synthetic.draw(np.array(labels), seed=0)


@pytest.mark.parametrize(("n", "copies"), [(0, 0.04), (10, -0.1), (10, 0.9)])
def test_impossible_numbers_are_refused(n, copies):
    with pytest.raises(ValueError, match="cannot make"):
        synthetic.faces(n, seed=0, copies=copies)


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(ValueError, match="csv, icml, tar, folder"):
        synthetic.write(tmp_path, form="zip")


# ---------------------------------------------------------------------------------------------- the competition's files

TRAIN, TEST = 120, 61


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folders = {form: tmp_path_factory.mktemp(form) for form in synthetic.FORMS}
    for form, folder in folders.items():
        synthetic.write(folder, TRAIN, TEST, seed=1, form=form)
    return folders


def lines(path):
    return path.read_text().splitlines()


def test_csv_has_the_files_and_first_lines_of_the_competition(written):
    folder = written["csv"]
    heads = {path.name: (lines(path)[0], len(lines(path)) - 1) for path in folder.iterdir()}
    assert heads == {
        "train.csv": ("emotion,pixels", TRAIN),
        "test.csv": ("pixels", TEST),
        "icml_face_data.csv": ("emotion, Usage, pixels", TRAIN + TEST),
        "example_submission.csv": ("id,emotion", TEST),
    }
    assert lines(folder / "example_submission.csv")[1] == "0,0"


def test_icml_rows_are_train_then_public_then_private(written):
    rows = [line.split(",") for line in lines(written["icml"] / "icml_face_data.csv")[1:]]
    assert [usage for _, usage, _ in rows] == ["Training"] * TRAIN + ["PublicTest"] * 30 + ["PrivateTest"] * 31
    assert [f"{label},{pixels}" for label, _, pixels in rows[:TRAIN]] == lines(written["csv"] / "train.csv")[1:]
    assert [pixels for _, _, pixels in rows[TRAIN:]] == lines(written["csv"] / "test.csv")[1:]


def test_the_archive_holds_the_same_rows(written):
    with tarfile.open(written["tar"] / "fer2013.tar.gz") as archive:
        text = archive.extractfile("fer2013/fer2013.csv").read().decode()
    rows = [line.split(",") for line in text.splitlines()]
    assert rows[0] == ["emotion", "pixels", "Usage"]
    expected = [line.split(",") for line in lines(written["icml"] / "icml_face_data.csv")[1:]]
    assert [[label, usage, pixels] for label, pixels, usage in rows[1:]] == expected


def test_some_test_faces_stand_in_train_with_the_same_label(written):
    rows = [line.split(",") for line in lines(written["icml"] / "icml_face_data.csv")[1:]]
    known = {pixels: label for label, _, pixels in rows[:TRAIN]}
    shared = [(label, known[pixels]) for label, _, pixels in rows[TRAIN:] if pixels in known]
    assert len(shared) == round(0.08 * TEST)
    assert all(own == other for own, other in shared)


def test_folder_counts_rows_within_their_usage(written):
    names = {path.name for path in written["folder"].rglob("*.png")}
    counts = {"Training": TRAIN, "PublicTest": 30, "PrivateTest": 31}
    assert names == {f"{usage}_{row}.png" for usage, count in counts.items() for row in range(count)}
    assert {path.name for path in (written["folder"] / "train").iterdir()} == {name.lower() for name in CLASS_NAMES}


@pytest.mark.parametrize("form", synthetic.FORMS)
def test_only_finished_files_are_left(written, form):
    left = [path for path in written[form].rglob("*") if path.is_file()]
    assert left and all(path.suffix in {".csv", ".gz", ".png"} for path in left)


@pytest.mark.parametrize("form", synthetic.FORMS)
def test_every_form_reads_back_as_the_same_arrays(written, form):
    rows = synthetic._rows(TRAIN, TEST, seed=1)
    read = competition.read_competition(written[form])
    assert np.array_equal(read.train.images, np.stack([image for _, _, image in rows[:TRAIN]]))
    assert read.train.labels.tolist() == [label for label, _, _ in rows[:TRAIN]]
    assert np.array_equal(read.test.images, np.stack([image for _, _, image in rows[TRAIN:]]))
    labelled = competition.read_labelled(written[form])
    assert labelled.labels.tolist() == [label for label, _, _ in rows]
