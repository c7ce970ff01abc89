"""Of several ranks each takes the GPU of its number, and where that one does not compute, stands aside."""

import pytest
import torch

from src.errors import UserError
from src.run import prepare
from src.run.ranks import Process, Rank
from src.train import device

BROKEN = "no kernel image"


@pytest.fixture
def gpus(monkeypatch):
    """A machine with GPUs, of which the named ones do not compute."""

    def have(*broken: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(device, "find_fault", lambda name: BROKEN if name in broken else "")
        monkeypatch.setattr(device, "describe_device", lambda name: f"a GPU ({name})")
        monkeypatch.setattr(device, "choose_device", lambda wish: (torch.device("cuda:1"), "the other one"))

    return have


def choose(wish: str, number: int, size: int = 2) -> tuple:
    return prepare.choose_device(wish, Rank(number, size, number, None))


@pytest.mark.parametrize("wish", ["auto", "cuda"])
def test_each_rank_has_the_gpu_of_its_number(gpus, wish):
    gpus()
    assert [choose(wish, number) for number in range(2)] == [
        (torch.device(f"cuda:{number}"), f"a GPU (cuda:{number})", False) for number in range(2)
    ]


def test_a_rank_whose_gpu_is_broken_stands_aside_and_the_first_one_takes_another(gpus):
    gpus("cuda:0", "cuda:1")
    for number, aside in ((0, False), (1, True)):
        found, reason, stands_aside = choose("auto", number)
        assert (found, stands_aside) == (torch.device("cuda:1"), aside) and f"cuda:{number} does not" in reason


def test_the_cpu_serves_any_number_of_ranks_and_one_gpu_does_not():
    with pytest.raises(UserError, match="cannot serve 2 ranks"):
        choose("cuda:1", 0)
    assert choose("cpu", 1)[::2] == (torch.device("cpu"), False)
    assert prepare.choose_device("cpu", Process())[::2] == (torch.device("cpu"), False)
