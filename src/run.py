"""A run: train each member as long as time allows, blend what is finished, leave a valid submission at every moment."""

import contextlib
import time
from pathlib import Path

from src import closing, preflight
from src.config import Member, Recipe
from src.errors import UserError
from src.member import clear_checkpoints, left_to_train, train_member
from src.run_state import Run, percent
from src.train import plan
from src.train import precision as precisions
from src.train.deadline import Cost, allot
from src.train.fit import TimeUp
from src.train.stop import Stop, Stopped


def run(
    recipe: Recipe,
    header: dict,
    source: Path,
    output: Path,
    device: str = "auto",
    overwrite: bool = False,
    started: float | None = None,
) -> dict:
    """Trains the recipe on the files below `source` and leaves a valid submission.csv in `output`; returns run.json.

    header: the digest and commit of the sources. started: where the budget's clock began, in seconds since 1970; None
    for now. The same call again goes on where it was left. Raises UserError for bad input, where `output` holds another
    run, and where no member could be finished; Stopped after a signal.
    """
    started = time.time() if started is None else started
    with Stop() as stop:
        this = preflight.begin(recipe, header, source, output, device, overwrite, started, stop)
        try:
            train_all(this)
            closing.end(this)
        except BaseException as error:
            this.record["status"] = "interrupted" if isinstance(error, Stopped) else "failed"
            this.log(f"{this.record['status']}: {error or type(error).__name__}")
            with contextlib.suppress(OSError):  # how it ended says more than that run.json could not be written
                this.save()
            raise
        finally:
            this.room.give_back()
            this.log.close()
    return this.record


def train_all(run: Run) -> None:
    """Trains what is not finished yet, in the recipe's order; after each member the submission is there."""
    waiting = [member for member in run.recipe.members if member.name not in run.record["members"]]
    for name, figures in run.record["members"].items():
        run.log(f"{name}: finished before, {percent(figures)}")
        clear_checkpoints(run, name)
    if run.record["members"]:
        closing.submit(run)
    waiting, costs = measured(run, waiting)
    say_plan(run, waiting, costs)
    while waiting:
        done, epochs = allotted(run, waiting, costs)
        others = sum(cost.total(n) for cost, n in zip(costs[1:], epochs[1:], strict=True) if n)
        (member, *waiting), (cost, *costs) = waiting, costs
        try:
            if not epochs[0] and (not done or run.deadline.left() < cost.predict + run.reserve):
                raise TimeUp(f"no epoch of {member.name} fits into the time that is left")
            train_member(run, member, epochs[0], cost.predict + run.reserve, others)
        except (TimeUp, UserError) as reason:
            leave_out(run, member, reason)
            continue
        closing.submit(run)
        clear_checkpoints(run, member.name)


def allotted(run: Run, waiting: list[Member], costs: list[Cost]) -> tuple[int, list[int]]:
    """The epochs that the first member has behind it, and the further ones that fit of each."""
    behind = [left_to_train(run, member) for member in waiting]
    return behind[0][0], allot(costs, [n for _, n in behind], run.deadline.left() - run.reserve)


def leave_out(run: Run, member: Member, reason: Exception) -> None:
    """The run goes on without a member, and says so: for want of time, or since it cannot be trained."""
    run.record["left_out" if isinstance(reason, TimeUp) else "missing"][member.name] = str(reason)
    run.log(f"warning: {reason}; the run goes on without {member.name}")


def measured(run: Run, members: list[Member]) -> tuple[list[Member], list[Cost]]:
    """The members that can be trained, and what each will cost; the others are left out."""
    found = []
    for member in members:
        try:
            found.append((member, measure(run, member)))
        except UserError as reason:
            leave_out(run, member, reason)
    return [member for member, _ in found], [cost for _, cost in found]


def measure(run: Run, member: Member) -> Cost:
    """What a member costs, from a warm-up on the run's own rows."""
    run.stop.check()
    precision = precisions.choose(member.precision, run.device)
    rows = run.rows(run.train_rows), run.rows(run.valid_rows)
    return plan.measure(member, *rows, len(run.data.test), precision, run.starts[member.name].file)


def say_plan(run: Run, members: list[Member], costs: list[Cost]) -> None:
    """The plan in log and run.json."""
    if members:
        left = run.deadline.left()
        _, epochs = allotted(run, members, costs)
        for line in plan.table(members, costs, epochs, left, run.record["device"]):
            run.log(line)
        planned = zip(members, costs, epochs, strict=True)
        run.record["plan"] = {m.name: {"epochs": n, "seconds": round(c.total(n), 1)} for m, c, n in planned}
