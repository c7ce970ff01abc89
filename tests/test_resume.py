"""A run that is killed goes on, and ends as if it had never stopped: to the bit, and never without a submission."""

import pytest
import torch

from benchmarks.kills import measure


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit_as_one_that_is_not():
    tally = measure(kills=12, a_run=4, seed=7)
    assert tally.kills == 12 and tally.runs >= 3
    assert not tally.failed and not tally.without_submission and not tally.different
