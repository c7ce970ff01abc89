"""Folds and seeds: one run trains every member on each, and leaves out-of-fold predictions of all rows."""

import numpy as np
import pandas as pd
import pytest

from src.data.competition import read_competition
from src.data.split import assign_folds, copy_groups
from src.dataset import CLASS_NAMES
from src.ensemble.blend import blend
from src.ensemble.predictions import load_predictions
from src.main import main
from src.run.run_folder import RunFolder
from src.run.trainings import trainings_of
from tests.conftest import fake_bundle
from tests.support.small_runs import read_log, request, train, train_killed

pytestmark = pytest.mark.usefixtures("narrow_networks")

FOLDS = ("folds=2", "fold=all", "seeds=3,4")
NAMES = [
    f"{member}-f{fold}-s{seed}" for seed in (3, 4) for member in ("compact_cnn", "simple_cnn_v2") for fold in (0, 1)
]


def files(output):
    """What a run has learned and predicted."""
    return {path.relative_to(output): path.read_bytes() for path in sorted(output.glob("members/*/model.safetensors"))}


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory):
    """A run of two folds and two seeds."""
    output = tmp_path_factory.mktemp("folds")
    return output, train(faces, output, *FOLDS)


def test_each_member_is_trained_on_each_fold_with_each_seed(whole, faces):
    output, record = whole
    assert list(record.members) == record.ensemble.members == NAMES
    predictions = [load_predictions(RunFolder(output).predictions(name)) for name in NAMES]
    assert [(p.header["fold"], p.header["seed"]) for p in predictions] == [(f, s) for s in (3, 4) for f in (0, 1, 0, 1)]
    assert len(set(files(output).values())) == len(NAMES)


def test_each_row_is_predicted_by_the_members_that_saw_neither_it_nor_a_copy(whole, faces):
    output, record = whole
    data = read_competition(faces)
    images, labels = data.train.images[:150], data.train.labels[:150]
    folds, groups = assign_folds(images, labels, 2, 0), copy_groups(images)
    assert len(set(zip(groups, folds, strict=True))) == len(set(groups)) < len(groups)  # there are copies
    table = pd.read_csv(output / "oof.csv")
    assert list(table.columns) == ["row", "label", "fold", *CLASS_NAMES] and table.row.tolist() == list(range(150))
    assert table.label.tolist() == labels.tolist() and table.fold.tolist() == folds.tolist()
    expected = np.full((150, 7), np.nan)
    for fold in (0, 1):
        of_fold = [load_predictions(RunFolder(output).predictions(name)) for name in NAMES if f"-f{fold}-" in name]
        rows = np.flatnonzero(folds == fold)
        assert all((member.valid_rows == rows).all() for member in of_fold) and len(of_fold) == 4
        expected[rows] = np.mean([member.valid for member in of_fold], axis=0)
    np.testing.assert_allclose(table[list(CLASS_NAMES)], expected, atol=1e-6)
    accuracy = (expected.argmax(1) == labels).mean()
    assert record.ensemble.valid_accuracy == pytest.approx(accuracy)


def test_the_accuracy_of_each_seed_is_that_of_its_members_alone(whole, faces):
    output, record = whole
    labels = read_competition(faces).train.labels
    for seed in ("3", "4"):
        part = blend([load_predictions(RunFolder(output).predictions(n)) for n in NAMES if n.endswith(f"-s{seed}")])
        accuracy = (part.valid.argmax(1) == labels[part.valid_rows]).mean()
        assert record.ensemble.accuracy_by_seed[seed] == pytest.approx(accuracy)
    values = [100 * value for value in record.ensemble.accuracy_by_seed.values()]
    assert f"mean {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} %" in " ".join(read_log(output).split())


def test_a_killed_run_continues_to_the_bit(whole, faces, tmp_path):
    """Killed in the third training, and again in the sixth."""
    for name in (NAMES[2], NAMES[5]):
        train_killed(lambda trainer, _, name=name: trainer.member.name == name, faces, tmp_path, *FOLDS)
    record = train(faces, tmp_path, *FOLDS)
    assert list(record.members) == NAMES and files(tmp_path) == files(whole[0])
    assert (tmp_path / "oof.csv").read_bytes() == (whole[0] / "oof.csv").read_bytes()
    assert (tmp_path / "submission.csv").read_bytes() == (whole[0] / "submission.csv").read_bytes()


def test_without_a_fold_all_rows_are_learnt_none_is_validated_and_the_last_epoch_is_kept(faces, tmp_path):
    record = train(faces, tmp_path, "fold=none", "epochs=2", "schedule=cosine")
    assert (record.rows.train, record.rows.valid) == (150, 0)
    assert {result.best_epoch for result in record.members.values()} == {2}
    assert all(np.isnan(result.valid_accuracy) for result in record.members.values())
    assert not len(load_predictions(RunFolder(tmp_path).predictions("compact_cnn")).valid_rows)
    text = read_log(tmp_path)
    assert "not validated" in text and "valid " not in text and "nan" not in text.lower()
    assert main(["check", str(tmp_path / "submission.csv"), "--input", str(faces)], fake_bundle()) == 0


@pytest.mark.parametrize("settings, names", [
    ([], ["compact_cnn", "simple_cnn_v2"]),
    (["fold=3"], ["compact_cnn", "simple_cnn_v2"]),
    (["fold=none"], ["compact_cnn", "simple_cnn_v2"]),
    (["seeds=7"], ["compact_cnn-f0-s7", "simple_cnn_v2-f0-s7"]),
    (["fold=none", "seeds=1,2"], [f"{m}-s{s}" for s in (1, 2) for m in ("compact_cnn", "simple_cnn_v2")]),
])  # fmt: skip
def test_names_say_the_fold_and_the_seed_where_there_are_several(faces, tmp_path, settings, names):
    assert [training.name for training in trainings_of(request(faces, tmp_path, *settings).recipe)] == names


@pytest.mark.parametrize("options, message", [
    ("--set fold=none schedule=plateau", "fold=none: compact_cnn.schedule=plateau needs validation rows"),
    ("--set fold=none early_stopping_patience=3", "early_stopping_patience needs validation rows"),
    ("--set fold=al", "fold=al: choose a number, or one of all, none; did you mean all?"),
    ("--set fold=none blend=greedy", "fold=none: blend=greedy is fitted to validation rows; set blend=mean"),
    ("--set valid=train --folds all", "valid=train validates the training rows, which fold=all contradicts"),
    ("--set fold=none folds=9", "folds=9 needs valid=fold and fold=all, or a number; it is valid=fold and fold=none"),
    ("--set fold=none split_seed=9", "split_seed=9 needs valid=fold and fold=all, or a number"),
    ("--seeds 0 00", "seeds=0,00: give different whole numbers"),
    ("--seeds 1 1", "seeds=1,1: give different whole numbers"),
    ("--seeds 1 x", "seeds=1,x: give different whole numbers"),
    ("--seed 1 --seeds 1 2", "seed=1 needs seeds="),
    ("--folds 1", "folds=1: it must lie between 2 and 100"),
    ("--folds all --set fold=1", "--folds all and --set fold or folds: give one of them"),
    ("--rows 14 --folds 9", "folds=9: no class has more than"),
])  # fmt: skip
def test_folds_and_seeds_that_cannot_be_are_refused_before_anything_is_made(faces, tmp_path, capsys, options, message):
    command = ["run", "--recipe", "quick", *options.split(), "--input", str(faces), "--output", str(tmp_path / "out")]
    assert main(command, fake_bundle()) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()
