"""Metrics of steps within an epoch, for trackers: kept on the device, read once at the epoch's end."""

import torch

from src.data.batches import steps
from src.train.trainer import EpochState, Trainer

POINTS = 20  # an epoch


class StepMetrics:
    """Observes a trainer after each batch, and gives the means over some steps; no batch waits for the device."""

    def __init__(self, points: int = POINTS):
        self.points, self.epoch, self.observed, self.last_step = points, None, [], 0

    def observe(self, trainer: Trainer) -> None:
        """After each batch of training and evaluation."""
        state = trainer.epoch_state
        if state is not self.epoch:
            self.begin(state)
        elif state.step == self.last_step:  # a batch of the evaluation
            return
        self.last_step = state.step
        self.total = steps(len(state.order), trainer.member.batch_size)
        if state.step % max(1, self.total // self.points) == 0 or state.step == self.total:
            self.observed.append((state.step, state.seen, trainer.schedule.lr, state.sums.clone()))

    def begin(self, state: EpochState) -> None:
        """An epoch's first batch, or the first one after a resumption, before which nothing was observed."""
        self.epoch, self.observed = state, []
        if state.step == 1:
            self.observed.append((0, 0, 0.0, torch.zeros_like(state.sums)))

    def take(self) -> list[dict[str, float]]:
        """The rows since the last call: step from the first epoch on, mean loss and accuracy in per cent since the row
        before, learning rate. Waits for the device.
        """
        observed, self.observed = self.observed, []
        if len(observed) < 2:
            return []
        sums = torch.stack([sums for *_, sums in observed]).tolist()
        first, rows = (self.epoch.number - 1) * self.total, []
        for number in range(1, len(observed)):
            step, seen, lr, _ = observed[number]
            images = seen - observed[number - 1][1]
            loss, hits = (now - before for now, before in zip(sums[number], sums[number - 1], strict=True))
            metrics = {"batch/loss": loss / images, "batch/accuracy": 100 * hits / images, "batch/lr": lr}
            rows.append({"step": first + step} | metrics)
        return rows
