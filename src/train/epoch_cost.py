"""What the epochs of a training cost: those with small images less, those with sharpness-aware steps more."""

from src.config import Member
from src.dataset import IMAGE_SIZE
from src.train.sam import passes
from src.train.trainer import training_image_size


def epoch_cost(member: Member, epoch: int, epochs: int) -> float:
    """The operations of an epoch of `epochs`, counted from 1, as a multiple of one with full images and one pass."""
    side = training_image_size(member, epoch, epochs) or IMAGE_SIZE
    return (side / IMAGE_SIZE) ** 2 * passes(member, epoch, epochs)


def expected_seconds(member: Member, history: list[dict], epochs: int) -> float:
    """The mean seconds of the epochs that are left of `epochs`, from the history of those before.

    Training takes time in proportion to its operations, and evaluation the same time in each epoch. Where no epoch is
    left, they are those of the last one.
    """
    costs = [epoch_cost(member, epoch, epochs) for epoch in range(1, epochs + 1)]
    done = len(history)
    training = sum(row["train_seconds"] for row in history) / sum(costs[:done])
    evaluation = sum(row["seconds"] - row["train_seconds"] for row in history) / done
    left = costs[done:] or costs[-1:]
    return training * sum(left) / len(left) + evaluation
