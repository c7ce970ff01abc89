"""A training with a run's callbacks: resumed, shortened to its budget, stopped by a signal, logged."""

import math
import signal

import pytest

from src.train.budget import Deadline, MemberBudget
from src.train.callbacks import TrainingCallbacks
from src.train.checkpoint import LATEST, MID_EPOCH, CheckpointManager
from src.train.epoch_cost import expected_seconds
from src.train.fit import TimeUp, TrainState, fit
from src.train.signals import Stopped, StopSignals
from src.train.trainer import Trainer
from tests.support.training import equal, make_job, make_member, weights, without_seconds


class Clock:
    """A clock that advances by `step` seconds each time it is read."""

    def __init__(self, step: float):
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def callbacks(tmp_path):
    """Makes callbacks for a folder; `lines` and `progress` are what they report."""

    def make(max_epochs: int = 3, hours: float | None = None, **more) -> TrainingCallbacks:
        lines, progress = [], []
        manager = CheckpointManager(tmp_path, {"member": "m"}, lines.append)
        budget = MemberBudget(Deadline(hours, 0.0, Clock(3600.0)), reserve=0.0, min_reserve=0.0)
        report = lambda history, scheduled: progress.append((len(history), scheduled))  # noqa: E731
        made = TrainingCallbacks(manager, budget, StopSignals(), max_epochs, report, lines.append, **more)
        made.lines, made.progress = lines, progress
        return made

    return make


def test_each_epoch_is_logged_and_reported(rows, callbacks):
    made = callbacks()
    result = fit(make_job(rows), made)
    made.checkpoints.join()
    assert made.progress == [(1, 3), (2, 3), (3, 3)]
    assert [line.split()[1] for line in made.lines] == ["1/3", "2/3", "3/3"]
    best = [line.endswith("best") for line in made.lines]
    assert best[result.best_epoch - 1] and not any(best[result.best_epoch :])


def test_a_stopped_training_is_resumed_bitwise(rows, callbacks, tmp_path):
    job = make_job(rows, dropout=0.3)
    whole, stopped = fit(job), callbacks()
    report = stopped.on_progress
    stopped.on_progress = lambda *a: (report(*a), stopped.signals.handle(signal.SIGTERM, None))
    with pytest.raises(Stopped):
        fit(job, stopped)
    assert (tmp_path / LATEST).exists() and (tmp_path / MID_EPOCH).exists()
    resumed = callbacks()
    result = fit(job, resumed)
    assert "m: continues after epoch 1, step 1 of the next" in resumed.lines
    assert without_seconds(result.history) == without_seconds(whole.history)
    assert equal(weights(result.net), weights(whole.net))


def test_a_checkpoint_of_another_network_is_ignored_with_a_line(rows, callbacks):
    first = callbacks()
    fit(make_job(rows), first)
    first.checkpoints.join()
    other = callbacks()
    result = fit(make_job(rows, network="linear"), other)
    assert len(result.history) == 3 and "m: its checkpoint does not fit" in other.lines[0]


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, True), (math.inf, False)])
def test_checkpoints_within_an_epoch_come_at_their_interval(rows, callbacks, tmp_path, seconds, expected):
    made = callbacks(checkpoint_seconds=seconds)
    fit(make_job(rows), made)
    made.checkpoints.join()
    assert (tmp_path / MID_EPOCH).exists() == expected


def test_the_schedule_ends_with_the_epochs_that_are_allocated(rows, callbacks):
    made = callbacks(max_epochs=2)
    result = fit(make_job(rows, schedule="one_cycle", lr=0.01), made)
    assert len(result.history) == result.scheduled_epochs == 2
    assert made.lines[0] == "m: 2 epochs instead of 3, to end in time"
    reference = fit(make_job(rows, schedule="one_cycle", lr=0.01, epochs=2))
    assert [row["lr"] for row in result.history] == [row["lr"] for row in reference.history]


GROWING = {"initial_image_size": 24, "resize_fraction": 0.5}


@pytest.mark.parametrize(("settings", "epochs"), [({}, 9), ({"sam_fraction": 0.5}, 6), (GROWING, 3)])
def test_later_epochs_that_cost_more_are_expected_to_take_longer(rows, callbacks, settings, epochs):
    """880 s are left after one epoch of 100 s: eight more fit, or five if most take twice the time, or two.

    Images of 24 pixels for three epochs and of 36 for two: the epochs that are left take 1, 1, 2.25, 2.25 and five
    times 4 of it, 294 s in the mean, and a margin is kept.
    """
    made, trainer = callbacks(max_epochs=10), Trainer(make_job(rows, epochs=10, **settings))
    made.budget = MemberBudget(Deadline(880 / 3600, 0.0, lambda: 0.0), reserve=0.0, min_reserve=0.0)
    row = {"epoch": 1, "lr": 0.1, "train_loss": 1.0, "train_accuracy": 0.5, "valid_loss": 1.0, "valid_accuracy": 0.5}
    state = TrainState([row | {"valid_f1": 0.5, "seconds": 100.0, "train_seconds": 100.0}], best_epoch=1)
    made.on_epoch_end(trainer, state)
    assert trainer.schedule.epochs == epochs


@pytest.mark.parametrize(("hours", "epochs"), [(5.0, 0), (10.0, 1)])
def test_a_training_whose_time_is_up_within_an_epoch_ends_with_its_best(rows, callbacks, hours, epochs):
    """Each reading of the clock takes an hour: after the five batches of an epoch, its evaluation, and its end."""
    made = callbacks(hours=hours)
    if epochs:
        assert len(fit(make_job(rows), made).history) == epochs
    else:
        with pytest.raises(TimeUp, match="before its first epoch ended"):
            fit(make_job(rows), made)
    assert made.lines[-1] == f"m: the time is up within epoch {epochs + 1}"


@pytest.mark.parametrize(("settings", "expected"), [({}, 130.0), (GROWING, 30 + 100 * 26.5 / 9)])
def test_the_evaluation_is_expected_to_take_the_same_time_in_each_epoch(settings, expected):
    row = {"train_seconds": 100.0, "seconds": 130.0}
    assert expected_seconds(make_member(**settings), [row], 10) == pytest.approx(expected)
    assert expected_seconds(make_member(**settings), [row] * 10, 10) > 0  # none is left


def test_a_rollback_after_a_resumption_keeps_what_was_shortened(rows, callbacks, monkeypatch):
    """The checkpoint's schedule has eight epochs and whole batches; since then four epochs and half batches fit."""
    first = callbacks(max_epochs=8)
    first.on_progress = lambda *_: first.signals.handle(signal.SIGTERM, None)
    with pytest.raises(Stopped):
        fit(make_job(rows, epochs=8), first)
    epoch, diverged = Trainer.epoch, [{"train_loss": math.nan}]
    with_nan = lambda trainer, *a: epoch(trainer, *a) | (diverged.pop() if diverged else {})  # noqa: E731
    monkeypatch.setattr(Trainer, "epoch", with_nan)
    result = fit(make_job(rows, epochs=8), callbacks(max_epochs=4, accumulation_steps=2))
    assert (len(result.history), result.scheduled_epochs, result.accumulation_steps, result.rollbacks) == (4, 4, 2, 1)


def test_known_accumulation_steps_are_used_from_the_first_step(rows, callbacks):
    assert fit(make_job(rows), callbacks(accumulation_steps=4)).accumulation_steps == 4
