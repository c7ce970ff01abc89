"""A run reads the data of the folder that is set, and its log says which files were passed over."""

import os

from src import config, recipes
from src.data import synthetic
from src.run import prepare
from src.run.context import Process, RunRequest
from src.run.record import Code
from src.train.signals import StopSignals


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
