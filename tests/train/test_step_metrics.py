"""Metrics of steps: their means are the epoch's, and no batch waits for a GPU."""

import pytest

from src import models
from src.train.fit import TimeUp
from src.train.step_metrics import StepMetrics
from src.train.trainer import Trainer
from tests.support.fake_cuda import fake_cuda
from tests.support.fake_training import BatchWaits, cuda_job, small_cnn
from tests.support.training import make_job


@pytest.mark.parametrize("points", [2, 1000])
def test_the_mean_over_an_epochs_rows_is_that_of_its_history(rows, points):
    trainer, metrics = Trainer(make_job(rows)), StepMetrics(points)
    history = trainer.epoch(1, lambda: metrics.observe(trainer))
    found = metrics.take()
    sizes, before = [], 0
    batch, images = trainer.member.batch_size, len(trainer.job.train.labels)
    for row in found:
        sizes.append(min(images, row["step"] * batch) - before)
        before += sizes[-1]
    assert before == images and metrics.take() == []
    mean = {key: sum(row[key] * size for row, size in zip(found, sizes, strict=True)) / images for key in found[0]}
    assert mean["batch/loss"] == pytest.approx(history["train_loss"], rel=1e-5)
    assert mean["batch/accuracy"] == pytest.approx(100 * history["train_accuracy"], rel=1e-5)


def test_a_row_a_step_has_the_steps_loss_and_the_next_learning_rate(rows, monkeypatch):
    trainer, metrics, losses = Trainer(make_job(rows)), StepMetrics(1000), []
    step = trainer.step

    def recorded(x, y):
        loss, hits = step(x, y)
        losses.append((loss.item(), 100 * hits.item() / len(y), trainer.schedule.lr))
        return loss, hits

    monkeypatch.setattr(trainer, "step", recorded)
    trainer.epoch(1, lambda: metrics.observe(trainer))
    found = [(row["batch/loss"], row["batch/accuracy"], row["batch/lr"]) for row in metrics.take()]
    assert len(found) > 2 and found == [pytest.approx(one, rel=1e-4) for one in losses]


def test_steps_are_counted_over_epochs_and_an_epoch_that_was_resumed_within_has_the_rest(rows):
    trainer, metrics = Trainer(make_job(rows)), StepMetrics(1000)
    for number in (1, 2):
        trainer.epoch(number, lambda: metrics.observe(trainer))
        steps = [row["step"] for row in metrics.take()]
        assert steps == list(range(steps[0], steps[0] + len(steps))) and steps[0] == (number - 1) * len(steps) + 1

    def stop():
        raise TimeUp

    with pytest.raises(TimeUp):
        trainer.epoch(3, stop)
    metrics = StepMetrics(1000)
    trainer.epoch(3, lambda: metrics.observe(trainer))
    assert metrics.take()[0]["step"] == 2 * len(steps) + 3  # the second step has none before it


def test_no_batch_waits_for_the_gpu(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "small_cnn", small_cnn)
    with fake_cuda() as gpu:
        trainer, metrics = Trainer(cuda_job(batch_size=106)), StepMetrics()
        waits = BatchWaits(gpu, trainer)

        def on_batch_end():
            metrics.observe(trainer)
            waits()

        trainer.epoch(1, on_batch_end)
        assert waits.found == [] and len(metrics.take()) == 5
