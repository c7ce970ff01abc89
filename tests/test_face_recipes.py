"""What the recipes for a high accuracy promise: families, seeds, equal conditions, and a kernel's time."""

import dataclasses

import pytest

from src import recipes
from src.run.trainings import trainings_of
from tools.kernel_time import HOURS, simulate_schedule

ENSEMBLES = ("final_cpu", "final", "final_pretrained")


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_has_eight_networks_or_more_of_several_kinds(name):
    trainings = trainings_of(recipes.get(name))
    assert len(trainings) >= 8
    assert len({(t.member.network, t.seed, t.fold) for t in trainings}) == len(trainings)
    assert len({t.member.network for t in trainings}) >= 2


def test_the_teachers_of_final_cpu_differ_from_a_student_in_the_targets_alone():
    teacher, student = recipes.get("best_single_cpu").members[0], recipes.get("final_cpu").members[1]
    assert student.soft_targets == "output/teachers"
    changes = {"name": teacher.name, "epochs": teacher.epochs, "soft_targets": "none"}
    assert dataclasses.replace(student, **changes) == teacher


def test_the_pretrained_network_is_compared_with_the_same_from_scratch():
    pretrained, scratch = (recipes.get(name).members[0] for name in ("pretrained_lite0", "scratch_lite0"))
    assert (pretrained.pretrained, scratch.pretrained) == ("auto", "none")
    assert dataclasses.replace(pretrained, name=scratch.name, pretrained="none") == scratch


@pytest.mark.parametrize("name", ["best_single", "final", "final_pretrained"])
def test_a_recipe_for_a_kernel_fits_into_its_time(name):
    shares = simulate_schedule(recipes.get(name), HOURS)
    assert all(share.epochs == share.member.epochs for share in shares)
    assert max(share.ends for share in shares) < 0.85 * 3600 * HOURS
