"""A run learns what earlier runs predicted; what is missing, of other data or changed meanwhile is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from src.data.competition import read_competition
from src.dataset import CLASS_NAMES
from src.ensemble.predictions import Predictions, save_predictions
from src.errors import UserError
from src.run.prepare import prepare, read_inputs
from src.run.ranks import Process
from src.run.run_folder import RunFolder
from tests.support.run_records import RECORD
from tests.support.small_runs import read_log, request, train, train_killed, weights

pytestmark = pytest.mark.usefixtures("narrow_networks")

SMALL = ("simple_cnn_v2.network=compact_cnn", "compact_cnn.epochs=2", "max_train_rows=100")


def write_table(faces, path, rows: int = 300, seed: int = 0) -> str:
    """An oof.csv for the first rows; returns its path."""
    labels = read_competition(faces).train.labels[:rows]
    probs = np.random.default_rng(seed).dirichlet(np.ones(7), rows).astype(np.float32)
    table = pd.DataFrame({"row": np.arange(rows), "label": labels, "fold": 0})
    table.join(pd.DataFrame(probs, columns=CLASS_NAMES)).to_csv(path, index=False)
    return str(path)


def write_run(faces, path, **recipe) -> None:
    """The folder of a run whose member has predicted the test, and no training row."""
    data, folder = read_competition(faces), RunFolder(path)
    (path / "predictions").mkdir(parents=True)
    folder.write_record(replace(RECORD, recipe=RECORD.recipe | recipe))
    header, test = {"member": "m", "data_digest": data.digest}, np.random.default_rng(2).dirichlet(np.ones(7), 80)
    nothing = np.empty(0, np.int64), np.empty((0, 7), np.float32)
    save_predictions(folder.predictions("m"), Predictions(header, *nothing, test.astype(np.float32)))


def job_of(made, name: str):
    """The training that a request would do for a member."""
    (training,) = (t for t in made.trainings if t.name == name)
    inputs = read_inputs(made, Process())
    return inputs, inputs.train_job(training)


def test_each_row_gets_the_mean_of_its_label_and_what_was_predicted_of_it(faces, tmp_path):
    path = write_table(faces, tmp_path / "oof.csv")
    settings = [f"compact_cnn.soft_targets={path}", "compact_cnn.soft_target_weight=0.7", "label_smoothing=0.1"]
    inputs, job = job_of(request(faces, tmp_path / "out", *settings), "compact_cnn")
    rows, predicted = inputs.split.rows(0)[0], pd.read_csv(path)[list(CLASS_NAMES)].to_numpy()
    label = 0.9 * np.eye(7)[inputs.data.train.labels[rows]] + 0.1 / 7
    np.testing.assert_allclose(job.targets.numpy(), 0.3 * label + 0.7 * predicted[rows], atol=1e-5)
    assert job_of(request(faces, tmp_path / "out", *settings), "simple_cnn_v2")[1].targets is None


def test_the_test_images_follow_with_what_was_predicted_of_them(faces, tmp_path):
    write_run(faces, tmp_path / "first")
    made = request(faces, tmp_path / "out", f"pseudo_labels={tmp_path / 'first'}", "label_smoothing=0.1")
    inputs, job = job_of(made, "compact_cnn")
    n = len(inputs.split.rows(0)[0])
    assert len(job.train.images) == len(job.train.labels) == len(job.targets) == n + 80
    np.testing.assert_array_equal(job.train.images[n:, 0].numpy(), inputs.data.test.images)
    np.testing.assert_array_equal(job.targets[n:].numpy(), inputs.soft_targets["compact_cnn"].test)
    np.testing.assert_array_equal(job.train.labels[n:].numpy(), job.targets[n:].argmax(1).numpy())
    label = 0.9 * np.eye(7)[inputs.data.train.labels[inputs.split.rows(0)[0]]] + 0.1 / 7
    np.testing.assert_allclose(job.targets[:n].numpy(), label, atol=1e-6)


def test_a_path_below_the_input_folder_is_found(faces, tmp_path):
    trees = tmp_path / "in"
    trees.mkdir()
    for file in faces.iterdir():
        (trees / file.name).symlink_to(file)
    (trees / "attached").mkdir()
    write_table(faces, trees / "attached" / "oof.csv")
    inputs, _ = job_of(request(trees, tmp_path / "out", "soft_targets=attached/oof.csv"), "compact_cnn")
    assert inputs.soft_targets["compact_cnn"].digest


@pytest.mark.parametrize("key", ["soft_targets", "pseudo_labels"])
def test_a_path_that_does_not_exist_is_refused_with_the_member_and_the_setting(faces, tmp_path, key):
    with pytest.raises(UserError, match=rf"^compact_cnn\.{key}=nowhere: no such run or predictions file"):
        train(faces, tmp_path / "out", f"{key}=nowhere")
    assert not (tmp_path / "out").exists()


def test_rows_that_nobody_predicted_are_counted_and_the_first_is_named(faces, tmp_path):
    made = request(faces, tmp_path / "out")
    rows = read_inputs(made, Process()).split.rows(0)[0]
    path = write_table(faces, tmp_path / "oof.csv", rows=100)
    missing = rows[rows >= 100]
    words = rf"{len(missing)} of {len(rows)} training rows are not predicted, the first is row {missing[0]};"
    with pytest.raises(UserError, match=words) as error:
        train(faces, tmp_path / "out", f"soft_targets={path}")
    assert len(str(error.value).splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "name"), [("pseudo_labels", ""), ("pseudo_labels", "predictions/m.npz"), ("soft_targets", "oof.csv")]
)
def test_a_run_does_not_learn_from_files_that_it_would_delete(faces, tmp_path, setting, name):
    write_run(faces, tmp_path / "first")
    write_table(faces, tmp_path / "first" / "oof.csv")
    (tmp_path / "link").symlink_to(tmp_path / "first")
    made = request(faces, tmp_path / "first", f"compact_cnn.{setting}={tmp_path / 'link' / name}", overwrite=True)
    with pytest.raises(UserError, match=rf"^compact_cnn\.{setting}: .* is in this run's own folder; give another"):
        prepare(made, None, Process())
    assert (tmp_path / "first/predictions/m.npz").exists() and (tmp_path / "first/oof.csv").exists()


def test_a_file_of_another_name_in_the_runs_folder_is_learnt(faces, tmp_path):
    (tmp_path / "out").mkdir()
    path = write_table(faces, tmp_path / "out" / "teacher.csv")
    inputs, _ = job_of(request(faces, tmp_path / "out", f"soft_targets={path}"), "compact_cnn")
    assert inputs.soft_targets["compact_cnn"].digest


def test_a_run_that_predicted_its_own_training_rows_is_refused(faces, tmp_path):
    write_run(faces, tmp_path / "first", valid="train")
    with pytest.raises(UserError, match=r"predicted rows that it had learnt \(valid=train\)"):
        train(faces, tmp_path / "out", f"soft_targets={tmp_path / 'first'}")


def test_a_killed_run_resumes_to_the_bit_and_other_content_under_the_same_name_is_refused(faces, tmp_path, one_thread):
    path = tmp_path / "oof.csv"
    settings = [*SMALL, f"soft_targets={write_table(faces, path)}", "mixup=0.4", "cutmix=1", "sam_fraction=0.5"]
    train(faces, tmp_path / "whole", *settings)
    stop = lambda trainer, state: state.epochs == 1 and trainer.epoch_state and trainer.epoch_state.step == 2  # noqa: E731
    train_killed(stop, faces, tmp_path / "killed", *settings, checkpoint_seconds=0.0)
    write_table(faces, path, seed=5)
    with pytest.raises(UserError, match="other soft targets"):
        train(faces, tmp_path / "killed", *settings)
    write_table(faces, path)
    train(faces, tmp_path / "killed", *settings)
    log = read_log(tmp_path / "killed")
    assert "continues after epoch 1, step" in log and f"compact_cnn: soft_targets of {path} [" in log
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_the_digest_of_many_members_targets_is_short_and_depends_on_each(faces, tmp_path):
    one, other = (write_table(faces, tmp_path / f"{seed}.csv", seed=seed) for seed in (0, 1))
    changed = {}
    for name, path in (("one", one), ("other", other)):
        settings = ["fold=all", "seeds=0,1,2,3,4,5", f"soft_targets={one}", f"compact_cnn.soft_targets={path}"]
        made = request(faces, tmp_path / "out", *settings)
        changed[name] = made.identity(read_inputs(made, Process())).targets_digest
    assert len(changed["one"]) == len(changed["other"]) == 16 and changed["one"] != changed["other"]
