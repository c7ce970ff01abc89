"""The estimate of a kernel's hours, by hand; and what a deadline shortens and skips."""

import pytest

from src.config import Member, Recipe
from tools import kernel_time
from tools.kernel_time import simulate_schedule

FLOP = 88_181_376  # of compact_cnn's forward pass


def recipe(*epochs: int) -> Recipe:
    members = (Member(f"m{n}", network="compact_cnn", epochs=count) for n, count in enumerate(epochs))
    return Recipe("r", "", members=tuple(members))


def test_a_members_seconds_are_its_operations_over_the_speed():
    (share,) = simulate_schedule(recipe(100), hours=11.5, fraction=0.1)
    images = 100 * (3 * 22_968 + 5_741) + 10 * (5_741 + 7_178)
    assert share.epochs == 100 and share.ends == pytest.approx(images * FLOP / 6.5e12)


def test_a_member_goes_to_the_gpu_that_is_free_first():
    shares = simulate_schedule(recipe(100, 10, 10, 80), hours=11.5)
    assert [share.gpu for share in shares] == [0, 1, 1, 1]
    assert shares[2].begins == shares[1].ends


def test_a_shorter_deadline_shortens_and_then_skips():
    long = [share.ends for share in simulate_schedule(recipe(100, 100, 100, 100), hours=11.5)][-1] / 3600
    halved, tiny = (simulate_schedule(recipe(100, 100, 100, 100), hours=long * part) for part in (0.55, 0.2))
    assert all(40 < share.epochs < 60 for share in halved) and max(s.ends for s in halved) < 3600 * long * 0.55
    assert [share.epochs > 0 for share in tiny] == [True, True, False, False]


def test_the_table_has_a_line_for_each_member_and_the_sum(capsys):
    assert kernel_time.main(["--recipe", "quick", "--hours", "0.0001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["compact_cnn", "simple_cnn_v2"] and "0.0001 h" in lines[-1]


@pytest.mark.parametrize("option", ["--hours 0", "--hours nan", "--hours -1", "--fraction 0", "--fraction 1.5"])
def test_hours_and_fractions_that_cannot_be_are_refused(capsys, option):
    with pytest.raises(SystemExit, match="2"):
        kernel_time.main(["--recipe", "quick", *option.split()])
    assert "it must lie above 0, up to" in capsys.readouterr().err


def test_a_recipe_that_does_not_exist_is_an_error_of_the_user(capsys):
    assert kernel_time.main(["--recipe", "finale"]) == 2
    assert "finale: no such recipe" in capsys.readouterr().err
