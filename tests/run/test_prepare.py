"""What a run reads and refuses before its first epoch, and what its log says of the files."""

import os
import shutil

import numpy as np
import pytest

from src import config, recipes
from src.data import synthetic
from src.errors import UserError
from src.run import prepare
from src.run.context import Process, RunRequest
from src.run.record import Code
from src.run.trainings import split_rows
from src.train.signals import StopSignals
from tests.support.small_runs import request


def test_the_log_names_the_data_of_the_folder_that_is_set_and_what_was_passed_over(tmp_path):
    for name, rows in (("a", 50), ("owner/b", 60)):
        synthetic.write_files(tmp_path / "in" / name, train=rows, test=20)
    other = tmp_path / "in" / "owner" / "b" / os.fsdecode(b"\xff")
    other.mkdir()
    (other / "train.csv").write_text("id,text\n")
    recipe = config.override(recipes.get("quick"), ["data_folder=b", "folds=2"])
    request = RunRequest(recipe, Code("0" * 16, "abc1234", False), tmp_path / "in", tmp_path / "out", "cpu")
    with StopSignals() as signals:
        context = prepare.prepare(request, signals, Process())
    context.log.close()
    assert len(context.data.train) == 60
    log = context.folder.log_file.read_text()
    assert "/in/owner/b/train.csv" in log and "/in/a/" not in log
    assert "passed over: " in log and r"owner/b/\udcff/train.csv: the header is 'id,text'" in log


def prepared(asked: RunRequest) -> None:
    """Prepares the run, which then waits for its first epoch."""
    with StopSignals() as signals:
        prepare.prepare(asked, signals, Process()).log.close()


@pytest.fixture
def other_ids(faces, tmp_path):
    """The faces with an example whose ids start at 1 and end with one that is there already."""
    folder = shutil.copytree(faces, tmp_path / "in")
    ids = [*range(1, 80), 79]
    (folder / "example_submission.csv").write_text("id,emotion\n" + "".join(f"{one},0\n" for one in ids))
    return folder


@pytest.mark.parametrize("form", ["kaggle", "no_header"])
def test_a_bad_example_does_not_count_where_the_form_is_set(other_ids, tmp_path, form):
    prepared(request(other_ids, tmp_path / "out", f"form={form}"))
    with pytest.raises(UserError, match="occurs twice"):
        prepared(request(other_ids, tmp_path / "auto"))
    assert not (tmp_path / "auto").exists()


def test_what_is_refused_deletes_nothing_although_overwrite_is_given(faces, tmp_path):
    """Three validation rows are too few for a blend, which would be found out after the first member."""
    out = tmp_path / "out"
    prepared(request(faces, out))
    (out / "submission.csv").write_text("mine")
    few = ("max_train_rows=14", "folds=4", "fold=3", "blend=greedy")
    with pytest.raises(UserError, match="blend greedy: 3 validation rows are too few to fit it"):
        prepared(request(faces, out, *few, overwrite=True))
    assert (out / "submission.csv").read_text() == "mine"


def test_a_fold_that_leaves_one_row_to_train_on_is_refused():
    recipe = config.override(recipes.get("quick"), ["folds=2"])
    images = np.arange(3, dtype=np.uint8).repeat(48 * 48).reshape(3, 48, 48)
    with pytest.raises(UserError, match=r"of 3 rows of train\.csv a fold leaves fewer than 2 to train on"):
        split_rows(recipe, images, np.zeros(3, np.int64))
