"""A batch that does not fit into memory is taken in pieces, with the whole batch's gradient."""

import pytest
import torch
from torch import nn

from src import models
from src.config import Member
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from src.errors import UserError
from src.train.device import out_of_memory
from src.train.fit import fit
from src.train.precision import Precision
from src.train.predict import probabilities
from src.train.trainer import Trainer, training_side

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "", CPU)
KINDS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: 4096 GB"),
]


class Greedy(nn.Sequential):
    """A linear network that runs out of memory with more than `most` images."""

    most, error, seen = 64, KINDS[0], []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error
        return super().forward(x)


def greedy(dropout: float | None = None) -> nn.Sequential:
    return Greedy(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(36, 7))


@pytest.fixture(autouse=True)
def network(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "greedy", greedy)
    monkeypatch.setattr(Greedy, "seen", [])


@pytest.fixture(scope="module")
def rows() -> LabelledImages:
    return on_device(*synthetic.make_faces(70, seed=11), CPU)


def member(**settings) -> Member:
    return Member("wild", "greedy", **({"batch_size": 32, "epochs": 2, "optimizer": "sgd", "lr": 0.1} | settings))


@pytest.mark.parametrize("error", KINDS, ids=["cuda", "cpu"])
@pytest.mark.parametrize(
    "settings", [{}, {"class_balancing": "weights"}, {"label_smoothing": 0.2, "class_balancing": "weights"}]
)
@pytest.mark.parametrize(("most", "pieces"), [(64, 1), (31, 2), (9, 4), (5, 8)])
def test_pieces_have_the_whole_batchs_gradient(rows, monkeypatch, error, settings, most, pieces):
    whole = fit(member(**settings), rows, rows, FLOAT32, seed=1)
    monkeypatch.setattr(Greedy, "most", most)
    monkeypatch.setattr(Greedy, "error", error)
    monkeypatch.setattr(Greedy, "seen", [])
    cut = fit(member(**settings), rows, rows, FLOAT32, seed=1)
    assert cut.pieces == pieces and whole.pieces == 1
    for one, other in zip(cut.net.parameters(), whole.net.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    for row, expected in zip(cut.history, whole.history, strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
        assert row["train_accuracy"] == expected["train_accuracy"]


def test_once_it_is_cut_it_stays_cut(rows, monkeypatch):
    monkeypatch.setattr(Greedy, "most", 9)
    trainer = Trainer(member(), rows, rows, FLOAT32, seed=1)
    trainer.half = trainer.new_half()
    trainer.train_epoch()
    assert Greedy.seen[:2] == [32, 16] and Greedy.seen[2:6] == [8] * 4 and max(Greedy.seen[2:]) == 8


def test_a_last_batch_that_is_smaller_than_the_pieces_is_cut_less(rows, monkeypatch):
    """70 rows in batches of 32 leave 6; eight pieces would leave images alone, and none."""
    monkeypatch.setattr(Greedy, "most", 5)
    trainer = Trainer(member(), rows, rows, FLOAT32, seed=1)
    trainer.half = trainer.new_half()
    trainer.train_epoch()
    assert trainer.pieces == 8 and Greedy.seen[-3:] == [2, 2, 2] and min(Greedy.seen) == 2


def test_moments_that_do_not_fit_are_the_users_error(rows, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer = Trainer(member(), rows, rows, FLOAT32, seed=1)
    monkeypatch.setattr(trainer.optimizer, "step", full)
    with pytest.raises(UserError, match="moments of sgd"):
        trainer.step(rows.images[:8].float(), rows.labels[:8])


@pytest.mark.parametrize(
    "words", ["CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "cuDNN: CUDNN_STATUS_ALLOC_FAILED"]
)
def test_what_the_gpus_libraries_say_of_memory_is_known(words):
    assert out_of_memory(RuntimeError(words)) and not out_of_memory(RuntimeError("CUDNN_STATUS_EXECUTION_FAILED"))


def test_what_does_not_fit_with_two_images_is_the_users_error(rows, monkeypatch):
    monkeypatch.setattr(Greedy, "most", 1)
    with pytest.raises(UserError, match=r"^wild: greedy does not fit into memory"):
        fit(member(), rows, rows, FLOAT32, seed=1)


def test_another_error_is_not_taken_for_want_of_memory(rows, monkeypatch):
    monkeypatch.setattr(Greedy, "most", 1)
    monkeypatch.setattr(Greedy, "error", RuntimeError("device-side assert triggered"))
    with pytest.raises(RuntimeError, match="assert"):
        fit(member(), rows, rows, FLOAT32, seed=1)


def test_a_prediction_is_cut_too_and_stays_the_same(rows, monkeypatch):
    net = greedy()
    whole = probabilities(net, rows.images, "flip", FLOAT32)
    monkeypatch.setattr(Greedy, "most", 10)
    torch.testing.assert_close(probabilities(net, rows.images, "flip", FLOAT32), whole)
    monkeypatch.setattr(Greedy, "most", 0)
    with pytest.raises(torch.OutOfMemoryError):
        probabilities(net, rows.images, "flip", FLOAT32)


def test_between_is_called_after_each_batch_of_a_prediction(rows):
    calls = []
    probabilities(greedy(), rows.images, "none", FLOAT32, batch=32, between=lambda: calls.append(1))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("first", "growing", "sides"), [(24, 0.8, [24, 24, 36, 36, 48]), (36, 0.4, [36, 36, 48, 48, 48])]
)
def test_the_training_images_grow_and_the_last_epochs_have_them_whole(rows, first, growing, sides):
    member = Member(
        "m", network="compact_cnn", batch_size=16, epochs=5, initial_image_size=first, resize_fraction=growing
    )
    trainer = Trainer(member, rows, rows, FLOAT32, 0)
    seen = []
    trainer.net.register_forward_pre_hook(
        lambda net, inputs: seen.append(inputs[0].shape[-1]) if net.training else None
    )
    for number in range(1, 6):
        seen.clear()
        trainer.epoch(number)
        assert set(seen) == {sides[number - 1]}


def test_images_that_do_not_grow_are_the_stored_ones():
    assert {training_side(Member("m"), n, 30) for n in range(1, 31)} == {None}
