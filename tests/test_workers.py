"""Two ranks train as one does: they take the same steps, and agree on everything they decide."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from src import models
from src.config import Augment
from src.data.augment import augment
from src.data.batches import part_of, steps, train_batches
from src.train.workers import AGREE_EVERY, ALONE, Together
from tests import pair
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def known_networks(monkeypatch):
    monkeypatch.setattr(models, "NETWORKS", models.NETWORKS | pair.NETWORKS)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict]:
    """What each of two ranks has found."""
    folder = tmp_path_factory.mktemp("pair")
    commands = [[sys.executable, "-m", "tests.pair", str(rank), str(folder)] for rank in range(2)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment) for command in commands]
    assert [process.wait(timeout=400) for process in running] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", ["plain", "everything", "sampler", "pieces"])
def test_without_batch_norm_two_ranks_train_the_network_that_one_does(both, name):
    """Class weights, smoothing, augmentation, moving average, a last batch that is smaller, and pieces of a batch."""
    alone = pair.train(name)
    for history, weights in (both[0][name], both[1][name]):
        for key, value in alone.net.state_dict().items():
            torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)
        for row, expected in zip(history, alone.history, strict=True):
            for key in ("lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "valid_f1"):
                assert row[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-5), key


def test_with_batch_norm_they_learn_as_well(both):
    alone = pair.train("normed")
    assert abs(both[0]["normed"][0][-1]["train_loss"] - alone.history[-1]["train_loss"]) < 0.25
    assert both[0]["normed"][0][-1]["train_loss"] < both[0]["normed"][0][0]["train_loss"] - 0.2


@pytest.mark.parametrize("name", list(pair.MEMBERS))
def test_both_ranks_have_the_same_history_and_the_same_weights(both, name):
    """Also what the clock says: by it they decide."""
    (one, weights), (other, others) = both[0][name], both[1][name]
    assert one == other
    assert all(torch.equal(weights[key], others[key]) for key in weights if "running" not in key)


def test_an_epoch_that_goes_on_from_the_first_ranks_state_counts_every_image_once(both):
    for found in both:
        whole, resumed = found["resumed"]
        assert resumed == pytest.approx(whole, rel=1e-5)


def test_what_one_says_all_hear(both):
    for found in both:
        assert found["of_all"] == [10, 11] and found["of_first"] == "rank 0"
        assert found["same"] == 0 and found["summed"] == 3
        quiet = [(0, 0)] * (AGREE_EVERY - 1)
        assert found["agreed"] == [*quiet, (15, 1), *quiet, (15, 1)]


def test_the_ranks_draw_different_masks(both):
    one, other = both[0]["masks"]
    assert one != other


def test_alone_nothing_is_sent_and_everything_is_its_own():
    net, tensor = nn.Linear(1, 1), torch.ones(1)
    assert ALONE.learner(net) is net and ALONE.prepared(net) is net
    assert ALONE.same(tensor) is tensor and ALONE.summed(tensor) is tensor
    assert ALONE.agreed(15, True, False) == (15, True, False) and ALONE.of_all(3) == [3]
    assert ALONE.about(64, 0.1) == ""


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [8, 22, 33])
def test_the_parts_of_a_batch_are_the_batch_and_equally_large(size, ranks):
    parts = [list(range(size))[part_of(size, rank, ranks)] for rank in range(ranks)]
    assert [row for part in parts for row in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_no_rank_ever_has_one_image_alone(ranks):
    for rows in range(64, 64 + 32):
        last = rows - 32 * (steps(rows, 32, ranks) - 1)
        smallest = min(len(range(min(32, last))[part_of(min(32, last), rank, ranks)]) for rank in range(ranks))
        assert smallest >= 2


def test_each_image_gets_of_the_augmentation_what_it_gets_on_one_rank():
    images = pair.rows()[0].images[:21]
    how = Augment(rotation=10, flip=0.5, shift=0.1, scale=0.1, shear=5, brightness=0.2, contrast=0.2, erase=0.5)
    whole = augment(images, how, torch.Generator().manual_seed(5))
    for part in (part_of(21, rank, 2) for rank in range(2)):
        torch.testing.assert_close(augment(images, how, torch.Generator().manual_seed(5), part=part), whole[part])


def test_the_ranks_batches_are_one_order_cut_in_parts():
    rows, order = pair.rows()[0], torch.arange(70)
    whole, one, two = (
        list(train_batches(rows, order, 32, Augment(), torch.Generator(), 0, None, *rank))
        for rank in ((), (0, 2), (1, 2))
    )
    for all_of_it, first, second in zip(whole, one, two, strict=True):
        assert torch.equal(torch.cat([first.images, second.images]), all_of_it.images)
        assert torch.equal(first.labels, all_of_it.labels) and torch.equal(second.labels, all_of_it.labels)


def test_on_gpus_batch_norm_becomes_that_of_the_whole_batch_with_the_same_weights():
    team = Together.__new__(Together)
    team.device = torch.device("cuda", 0)
    net = pair.normed()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net = team.prepared(net)
    assert isinstance(net[1], nn.SyncBatchNorm) and net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
