"""A run: train each member as long as time allows, blend what is finished, leave a valid submission at every moment."""

import contextlib
import time
from dataclasses import replace
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
            say_end(this, error)
            raise
        finally:
            this.log.close()
    return this.record


def say_end(run: Run, error: BaseException) -> None:
    """How a run ended that did not end well, in log and run.json."""
    status = "interrupted" if isinstance(error, Stopped) else "failed"
    run.log(f"{status}: {error or type(error).__name__}")
    run.record["status"] = status
    with contextlib.suppress(OSError):  # how it ended says more than that run.json could not be written
        run.save()


def train_all(run: Run) -> None:
    """Trains what is not finished yet, in the recipe's order; after each member the submission is there."""
    waiting = [member for member in run.recipe.members if member.name not in run.record["members"]]
    say_finished(run)
    waiting, costs = measured(run, waiting)
    say_plan(run, waiting, costs)
    for number in range(len(waiting)):
        train_next(run, waiting[number:], costs[number:])


def say_finished(run: Run) -> None:
    """Names what is finished already, and submits it."""
    for name, figures in run.record["members"].items():
        run.log(f"{name}: finished before, {percent(figures)}")
        clear_checkpoints(run, name)
    if run.record["members"]:
        closing.submit(run)


def train_next(run: Run, waiting: list[Member], costs: list[Cost]) -> None:
    """Trains the first of the members that are waiting, or leaves it out."""
    member, cost = waiting[0], costs[0]
    own = cost.predict + run.reserve
    done, epochs = allotted(run, waiting, costs)
    others = sum(c.total(n) for c, n in zip(costs[1:], epochs[1:], strict=True) if n)
    try:
        if not (epochs[0] or (done and run.deadline.left() >= own)):
            raise TimeUp(f"no epoch of {member.name} fits into the time that is left")
        train_member(run, member, cost, done + epochs[0], own, others)
    except (TimeUp, UserError) as reason:
        leave_out(run, member, reason)
        return
    closing.submit(run)
    clear_checkpoints(run, member.name)


def allotted(run: Run, waiting: list[Member], costs: list[Cost]) -> tuple[int, list[int]]:
    """The epochs that the first member has behind it, and the further ones that fit of each."""
    behind = [left_to_train(run, member) for member in waiting]
    return (behind or [(0, 0)])[0][0], allot(costs, [n for _, n in behind], run.deadline.left() - run.reserve)


def leave_out(run: Run, member: Member, reason: Exception) -> None:
    """The run goes on without a member, and says so: for want of time, or since it cannot be trained."""
    run.record["left_out" if isinstance(reason, TimeUp) else "missing"][member.name] = str(reason)
    run.log(f"warning: {reason}; the run goes on without {member.name}")


def measured(run: Run, members: list[Member]) -> tuple[list[Member], list[Cost]]:
    """The members that can be trained, and what each will cost; the others are left out."""
    found = [(member, measure(run, member)) for member in members]
    for member, cost in found:
        if isinstance(cost, str):
            leave_out(run, member, UserError(cost))
    known = [(member, cost) for member, cost in found if isinstance(cost, Cost)]
    return [member for member, _ in known], [cost for _, cost in known]


def measure(run: Run, member: Member) -> Cost | str:
    """What a member costs, from a warm-up on the run's own rows; a reason where it cannot be trained."""
    run.stop.check()
    precision = precisions.choose(member.precision, run.device)
    try:
        rows = run.rows(run.train_rows), run.rows(run.valid_rows)
        return plan.measure(member, *rows, len(run.data.test), precision, run.starts[member.name].file)
    except UserError as reason:
        return str(reason)


def say_plan(run: Run, members: list[Member], costs: list[Cost]) -> None:
    """The plan in log and run.json."""
    if not members:
        return
    _, epochs = allotted(run, members, costs)
    left_to_do = [replace(member, epochs=max(1, left_to_train(run, member)[1])) for member in members]
    for line in plan.table(left_to_do, costs, epochs, run.deadline.left(), run.record["device"]):
        run.log(line)
    planned = zip(members, costs, epochs, strict=True)
    run.record["plan"] = {m.name: {"epochs": n, "seconds": round(c.total(n), 1)} for m, c, n in planned}
