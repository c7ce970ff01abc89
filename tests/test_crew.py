"""Who takes part in a run, who takes which member and which device, and what is said of those that did not end."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from src import crew
from src.config import Member
from src.crew import Crew, Ranks, Sharing
from src.errors import UserError
from src.train import device as devices
from src.train.deadline import Cost
from tests.store import boards

MEMBERS = [Member(name, network="compact_cnn") for name in ("a", "b", "c")]


def ranks_of(size: int) -> list[Ranks]:
    return [Ranks(board, board.place) for board in boards(size)]


def at_once(action, each: list) -> list:
    """The action of each, all at the same time, as they wait for each other."""
    with ThreadPoolExecutor(len(each)) as pool:
        return list(pool.map(action, each))


def sharing(size: int) -> list[Sharing]:
    return [Sharing(rank.board, rank.place, list(range(size))) for rank in ranks_of(size)]


def test_alone_everything_is_done_in_order():
    assert list(Crew().take(3)) == [0, 1, 2] and Crew().busy() == [0.0] and Crew().arrive()
    assert Crew().costs(MEMBERS, lambda member: member.name) == ["a", "b", "c"]


def test_each_member_goes_to_one_rank():
    one, other = sharing(2)
    first, second = one.take(3), other.take(3)
    assert [next(first), next(second), next(first)] == [0, 1, 2]
    assert list(second) == [] and list(first) == []


def test_the_ranks_share_the_measuring_and_know_all_costs():
    measured = []

    def measure(member: Member) -> Cost | str:
        measured.append(member.name)
        return "does not fit" if member.name == "b" else Cost(2.0, 1.0, 4)

    found = at_once(lambda rank: rank.costs(MEMBERS, measure), sharing(2))
    assert found[0] == found[1] == [Cost(2.0, 1.0, 4), "does not fit", Cost(2.0, 1.0, 4)]
    assert sorted(measured) == ["a", "b", "c"]


def test_what_a_rank_dies_measuring_is_nobodys_and_the_end_says_why():
    one, other = sharing(2)
    other.board.tell("at/1", "measured b")
    other.board.arrive({"why": "rank 1 died (signal 11)"})
    assert one.costs(MEMBERS, lambda member: Cost(1, 1))[1] is None
    assert one.fate("b") == "rank 1 died (signal 11) while it measured b"
    assert "no rank was left" in one.fate("c") and "rank 1 died" in one.fate("c")


def test_a_rank_is_busy_as_long_as_it_said_and_not_when_it_has_ended():
    one, other, third = sharing(3)
    other.begins("b", 100.0)
    third.begins("c", 50.0)
    third.board.arrive({})
    mine, until = one.busy()
    assert mine == 0.0 and until == pytest.approx(100, abs=5)
    assert one.board.told("until/1") > time.time()


def test_members_enough_are_shared_by_all_that_have_a_device():
    three = ranks_of(3)
    given = [torch.device("cpu"), None, torch.device("cpu")]
    agreed = at_once(lambda n: crew.agree(three[n], given[n], f"device {n}", 2), range(3))
    assert [type(found) for found, _ in agreed] == [Sharing, Ranks, Sharing]
    assert all(at_work == {0: "device 0", 2: "device 2"} for _, at_work in agreed)
    assert list(agreed[1][0].take(2)) == [] and agreed[1][0].costs(MEMBERS, lambda _: 1 / 0) == [None] * 3


def test_fewer_members_than_ranks_are_trained_by_all_together(monkeypatch):
    monkeypatch.setattr(crew, "Joined", lambda *arguments: arguments[2])
    two = ranks_of(2)
    agreed = at_once(lambda rank: crew.agree(rank, torch.device("cpu"), "cpu", 1), two)
    assert [found for found, _ in agreed] == [[0, 1], [0, 1]]


def test_with_nothing_to_train_and_alone_nothing_is_agreed():
    assert crew.agree(Crew(), torch.device("cpu"), "cpu", 1)[1] == {0: "cpu"}
    agreed = at_once(lambda rank: crew.agree(rank, torch.device("cpu"), "cpu", 0), ranks_of(2))
    assert [type(found) for found, _ in agreed] == [Ranks, Ranks]


@pytest.fixture
def four_gpus(monkeypatch):
    """Four GPUs, of which the first and the third are broken."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(devices, "describe", lambda name: name)
    monkeypatch.setattr(devices, "try_out", lambda name: "broken" if name in ("cuda:0", "cuda:2") else "")


def test_each_rank_takes_the_next_gpu_that_works_and_those_without_stand_aside(four_gpus):
    chosen = at_once(lambda rank: crew.choose_device(rank, "auto"), ranks_of(4))
    assert [device and str(device) for device, _ in chosen] == ["cuda:1", "cuda:3", None, None]
    assert "stands aside" in chosen[2][1]


def test_without_a_gpu_all_ranks_take_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {str(device) for device, _ in at_once(lambda rank: crew.choose_device(rank, "auto"), ranks_of(3))} == {"cpu"}


def test_one_device_for_several_ranks_is_refused():
    with pytest.raises(UserError, match="--device cuda:1"):
        crew.choose_device(ranks_of(2)[0], "cuda:1")


def test_the_slowest_rank_is_what_a_training_together_takes():
    assert crew.slowest([Cost(2.0, 5.0, 1), Cost(3.0, 1.0, 4)]) == Cost(3.0, 5.0, 4)
