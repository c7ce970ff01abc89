"""Rehearses a recipe on a kernel's GPUs with a fast clock: how many epochs each member gets before the deadline.

    python -m tools.kernel_time --recipe final               the time budget of a kernel, 11.5 hours
    python -m tools.kernel_time --recipe final --hours 6     what a shorter one shortens or skips

Nothing is trained. A member's seconds are its operations, which are counted, over a speed: that of a T4 in half
precision, 65 TFLOP/s at its peak, times the fraction of it that a training reaches. A public measurement on a T4 (177 s
an epoch of CIFAR-10 in mixed precision, without channels_last, probably of WRN-28-10) gives 0.14 for 3x3 convolutions.
The 0.06 for networks of timm is a guess after their throughput on other GPUs. `--fraction` sets one for all members.
"""

import argparse
import sys
from dataclasses import dataclass

from src.terminal import accept_any_character, announce_loading, run_command

if __name__ == "__main__":
    accept_any_character()
    announce_loading("torch")  # before the imports that take seconds

from src import recipes
from src.config import Member, Recipe
from src.errors import UserError
from src.recipe_table import network_cost
from src.run.estimate import Demand, allocate_epochs
from src.run.trainings import trainings_of
from src.train.budget import TimeEstimate
from src.train.estimate import format_duration

PEAK, FRACTION, FRACTION_OF_TIMM = 65e12, 0.14, 0.06
TRAIN_ROWS, TEST_ROWS, VIEWS = 28_709, 7_178, 10
GPUS, HOURS = 2, 11.5


@dataclass(frozen=True)
class ScheduledMember:
    """A member's part of the run, in seconds from its start."""

    member: Member
    gpu: int
    epochs: int  # 0 if the member is skipped
    begins: float
    ends: float


def estimate(member: Member, folds: int | None, fraction: float | None) -> TimeEstimate:
    """The member's seconds on one GPU; folds None: it trains on all rows.

    A backward pass costs two forward passes; ten views of each image are predicted at the end.
    """
    cost = network_cost(member.network, member.image_size)
    if fraction is None:
        fraction = FRACTION_OF_TIMM if cost.family == "timm" else FRACTION
    image, valid = cost.flop / (PEAK * fraction), TRAIN_ROWS // folds if folds else 0
    return TimeEstimate(image * (3 * (TRAIN_ROWS - valid) + valid), image * VIEWS * (valid + TEST_ROWS))


def simulate_schedule(
    recipe: Recipe, hours: float, fraction: float | None = None, gpus: int = GPUS
) -> list[ScheduledMember]:
    """Gives each member to the GPU that is free first, with the epochs that the budget allows it, as a run does."""
    folds = None if recipe.fold == "none" else recipe.folds
    trainings = trainings_of(recipe)
    demands = [Demand(t, estimate(t.member, folds, fraction), 0, t.member.epochs) for t in trainings]
    free, shares = [0.0] * gpus, []
    for number, demand in enumerate(demands):
        gpu = free.index(min(free))
        epochs = allocate_epochs(demands[number::gpus], 3600 * hours - free[gpu])[0]
        ends = free[gpu] + (demand.time.total(epochs) if epochs else 0)
        shares.append(ScheduledMember(demand.member, gpu, epochs, free[gpu], ends))
        free[gpu] = ends
    return shares


def schedule_table(shares: list[ScheduledMember], hours: float) -> list[str]:
    """Lines for people: each member's GPU, epochs and time, and the end of the last one."""
    width = max(len(share.member.name) for share in shares)
    lines = []
    for s in shares:
        short = f", of {s.member.epochs}" if s.epochs < s.member.epochs else ""
        what = f"{s.epochs:4d} epochs{short}, {format_duration(s.ends - s.begins)}" if s.epochs else "   skipped"
        lines.append(f"{s.member.name:{width}}  GPU {s.gpu}  {what}")
    end, seconds = max(s.ends for s in shares), sum(s.ends - s.begins for s in shares)
    return [*lines, f"the last ends after {end / 3600:.1f} of {hours:g} h; {seconds / 3600:.1f} GPU hours"]


def main(argv: list[str]) -> int:
    """The command line; exit code 0, or 2 for the user's error."""
    parser = argparse.ArgumentParser(prog="python -m tools.kernel_time", description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--fraction", type=float, help="of a T4's peak of 65 TFLOP/s, for all members")
    arguments = parser.parse_args(argv)
    for name, limit in (("hours", 10_000), ("fraction", 1)):
        value = getattr(arguments, name)
        if value is not None and not 0 < value <= limit:
            parser.error(f"--{name} {value:g}: it must lie above 0, up to {limit:,}")
    try:
        recipe = recipes.get(arguments.recipe)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(schedule_table(simulate_schedule(recipe, arguments.hours, arguments.fraction), arguments.hours)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
