"""Which process is a rank, how ranks share the members, how many GPUs there are for them, and which one each takes."""

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch.distributed import HashStore

from src.errors import UserError
from src.run import prepare, ranks
from src.run.ranks import Process, Rank
from src.train import device

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "number"),
    [({}, None), (TORCHRUN, 1), (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, None), ({"RANK": "3"}, None)],
)
def test_a_rank_is_one_of_several_that_torchrun_started(environment, number):
    assert ranks.number_of_rank(environment) == number


def test_each_member_is_taken_by_one_rank_and_one_rank_is_last():
    store = HashStore()
    two = [Rank(number, 2, number, store) for number in range(2)]
    first, second = (rank.take(5) for rank in two)
    taken = [next(first), next(second), next(second), *first, *second]
    assert sorted(taken) == [0, 1, 2, 3, 4]
    assert [rank.is_last() for rank in two] == [False, True]


def test_a_rank_that_waits_for_the_first_one_can_be_stopped():
    store = HashStore()
    waiting = Rank(1, 2, 1, store)
    with pytest.raises(KeyboardInterrupt):
        waiting.hear(Mock(check=Mock(side_effect=[None, KeyboardInterrupt])))
    Rank(0, 2, 0, store).tell(None)
    assert waiting.hear(Mock()) is None


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0,1", 2), ("1", 1), ("", 0), ("0,1,2", 2)])
def test_gpus_are_counted_as_far_as_they_may_be_seen(tmp_path: Path, visible, count):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert ranks.gpus(environment, tmp_path) == count


def test_an_exit_code_goes_to_the_launcher_and_torchrun_sees_an_end_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "connect", lambda: Rank(0, 2, 0, HashStore()))
    monkeypatch.setattr(ranks, "die_with_parent", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # run_rank sets one
    assert [ranks.run_rank(lambda rank, code=code: code) for code in (0, 1, None)] == [0, 1, 0]
    monkeypatch.setenv(ranks.EXIT_CODE, str(tmp_path / "code"))
    assert ranks.run_rank(lambda rank: None) == 0 and not (tmp_path / "code").exists()
    assert ranks.run_rank(lambda rank: 1) == 0 and (tmp_path / "code").read_text() == "1"


def test_a_traceback_names_its_rank_in_each_line(monkeypatch, capsys):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    ranks.write_traceback(ValueError, ValueError("two\nlines"), None)
    assert capsys.readouterr().err == "[rank1]: ValueError: two\n[rank1]: lines\n"


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
