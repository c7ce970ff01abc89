"""Epochs that fit into the time, members that are skipped, and the start of the process."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.train.budget import Deadline, MemberBudget, TimeEstimate, allocate_epochs, process_started

MEMBERS = st.lists(
    st.tuples(st.floats(0.1, 1e4), st.floats(0, 1e3), st.integers(1, 300)), min_size=1, max_size=6
)  # seconds an epoch, seconds of prediction, epochs


def spent(members: list, epochs: list[int]) -> float:
    return sum(n * epoch + predict for (epoch, predict, _), n in zip(members, epochs, strict=True) if n)


def shares(members: list, left: float) -> list[int]:
    return allocate_epochs(
        [TimeEstimate(epoch, predict) for epoch, predict, _ in members], [n for *_, n in members], left
    )


@given(MEMBERS, st.floats(0, 1e6))
def test_what_is_allocated_fits_and_is_never_more_than_asked(members, left):
    allocated = shares(members, left)
    assert len(allocated) == len(members)
    assert all(0 <= n <= asked for n, (*_, asked) in zip(allocated, members, strict=True))
    assert not any(allocated) or spent(members, allocated) <= left * (1 + 1e-9)


@given(MEMBERS)
def test_with_time_enough_or_without_an_end_everything_is_allocated(members):
    asked = [n for *_, n in members]
    assert shares(members, math.inf) == asked
    assert shares(members, 1.06 * spent(members, asked) + 1) == asked


@given(MEMBERS, st.floats(1, 1e6))
def test_the_last_members_are_skipped_first_and_the_others_keep_a_third(members, left):
    allocated = shares(members, left)
    kept = sum(1 for n in allocated if n)
    assert all(allocated[:kept]) or kept == 0 or min(n for *_, n in members) < 3
    if sum(1 for n in allocated[1:] if n):
        assert all(n >= int(asked / 3) for n, (*_, asked) in zip(allocated, members, strict=True) if n)


def test_shares_by_hand():
    members = [(10, 5, 20), (20, 5, 10)]  # 200 + 200 seconds of training, 10 of prediction
    assert shares(members, 1000) == [20, 10]
    assert shares(members, 10 + 1.05 * 200) == [10, 5]
    assert shares(members, 10 + 1.05 * 100) == [10, 0]  # a quarter each is too little: the last one is skipped
    assert shares(members, 5 + 1.05 * 20) == [2, 0]
    assert shares(members, 4) == [0, 0]
    assert shares([(600, 0, 1), (600, 0, 1)], 1000) == [1, 0]  # half an epoch each is none
    assert shares([(600, 0, 1), (600, 0, 0)], 700) == [1, 0]


def test_a_deadline_counts_from_its_start_and_none_has_no_end():
    now = [1000.0]
    deadline = Deadline(2, 400.0, lambda: now[0])
    assert deadline.left() == 400 + 7200 - 1000
    now[0] = 9000
    assert deadline.left() < 0
    assert Deadline(None, 0.0).left() == math.inf


def test_a_members_budget_ends_before_its_reserve():
    now = [0.0]
    budget = MemberBudget(Deadline(1, 0.0, lambda: now[0]), 600, 100)
    assert budget.epochs_left(100) == int(3000 / 105) and not budget.is_over(True)
    now[0] = 3000
    assert budget.is_over(True) and not budget.is_over(False) and budget.epochs_left(100) == 0
    now[0] = 3500
    assert budget.is_over(False)
    assert MemberBudget(Deadline(None, 0.0), 600, 100).epochs_left(100) == math.inf


def test_the_process_started_before_this_test_and_after_the_machine():
    assert 0 < time.time() - process_started() < 86_400


@pytest.mark.parametrize("broken", [OSError, IndexError])
def test_without_proc_the_start_follows_from_the_process_time(monkeypatch, broken):
    def fail(*_):
        raise broken

    monkeypatch.setattr("src.train.budget.Path.read_text", fail)
    assert abs(time.time() - process_started() - time.process_time()) < 5
