"""What tests on a made-up GPU share: a network, jobs, and the waits within a batch."""

import numpy as np
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from src.config import Member
from src.data.batches import on_device
from src.train.precision import choose_precision
from src.train.trainer import Trainer, TrainJob
from tests.support.fake_cuda import CUDA, FakeCuda

ROWS, BATCH_SIZE = 530, 265  # two steps, and two batches of evaluation, which have 512 rows


def small_cnn(dropout: float | None = None, drop_path: float = 0.0) -> nn.Sequential:
    """A convolution, a batch norm, dropouts and a linear layer, for images of any size."""
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), StochasticDepth(drop_path, "row")
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout or 0.1)
    return nn.Sequential(*layers, *pool, nn.Linear(4, 7))


def cuda_job(device: torch.device = CUDA, **settings) -> TrainJob:
    """The training of a member on black images that are on the GPU."""
    member = Member("m", **{"network": "small_cnn", "epochs": 1, "batch_size": BATCH_SIZE} | settings)
    rows = on_device(np.zeros((ROWS, 48, 48), np.uint8), np.arange(ROWS) % 7, device)
    return TrainJob(member, rows, rows, choose_precision(member.precision, device), seed=1)


class BatchWaits:
    """Called after each batch of a trainer: keeps where the host has waited for the GPU within a batch.

    The first batch of an epoch and the first one of its evaluation do not count: between the two it may wait.
    """

    def __init__(self, gpu: FakeCuda, trainer: Trainer):
        self.gpu, self.trainer, self.found = gpu, trainer, []
        self.last_step, self.phase, self.seen = 0, None, 0

    def __call__(self) -> None:
        step = self.trainer.epoch_state.step
        phase = "training" if step != self.last_step else "evaluation"  # no step is done in an evaluation
        if phase == self.phase:
            self.found += self.gpu.waits[self.seen :]
        self.last_step, self.phase, self.seen = step, phase, len(self.gpu.waits)
