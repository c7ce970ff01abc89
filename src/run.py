"""A run: train each member as long as time allows, blend what is finished, leave a valid submission at every moment."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path

from src import closing, crew, preflight
from src.config import Member, Recipe
from src.crew import Crew
from src.errors import UserError
from src.member import clear_checkpoints, left_to_train, train_member
from src.run_state import Run, percent
from src.train import device as devices
from src.train import plan
from src.train import precision as precisions
from src.train.deadline import Cost, allot_among, sequence
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
    ranks: Crew | None = None,
    only_end: bool = False,
) -> dict:
    """Trains the recipe on the files below `source` and leaves a valid submission.csv in `output`; returns run.json.

    header: the digest and commit of the sources. started: where the budget's clock began, in seconds since 1970; None
    for now. The same call again goes on where it was left. Raises UserError for bad input, where `output` holds another
    run, and where no member could be finished; Stopped after a signal.

    ranks: this one of several that run it together, all with the same arguments. only_end: they have all ended, and
    what they have left is blended and checked.
    """
    started = time.time() if started is None else started
    with Stop() as stop:
        arguments = (recipe, header, source, output, device, overwrite, started, stop, ranks or Crew())
        this = begun(*arguments, only_end)
        last = only_end
        try:
            if not only_end:
                train_all(this)
                last = this.crew.arrive()
            if last:
                closing.end(this)
        except BaseException as error:
            say_end(this, error, last or this.crew.size == 1)
            raise
        finally:
            if this.crew.size == 1:
                this.room.give_back()
            this.log.close()
    return this.record


def begun(
    recipe: Recipe,
    header: dict,
    source: Path,
    output: Path,
    device: str,
    overwrite: bool,
    started: float,
    stop: Stop,
    ranks: Crew,
    only_end: bool,
) -> Run:
    """The run as this rank begins it: the first one claims what it needs, the others wait for that.

    Where the first one could not, it has said why, and the others end with exit code 2.
    """
    if ranks.first and not only_end:
        this = preflight.begin(recipe, header, source, output, device, overwrite, started, stop, ranks)
        ranks.say_begun(max(this.closing))
        return this
    seconds = ranks.hear_begun(stop.check)
    if seconds is None:
        raise SystemExit(2)
    return preflight.join(recipe, source, output, None if only_end else device, started, stop, ranks, seconds)


def say_end(run: Run, error: BaseException, last: bool) -> None:
    """How a run ended that did not end well, in log and run.json; where other ranks may go on, in the log alone."""
    status = "interrupted" if isinstance(error, Stopped) else "failed"
    run.log(f"{status}: {error or type(error).__name__}")
    if not last and status == "failed":
        return
    with contextlib.suppress(OSError), run.changing():  # how it ended says more than that run.json could not be written
        run.record["status"] = status


def train_all(run: Run) -> None:
    """Trains what is not finished yet, in the recipe's order; after each member the submission is there.

    On several ranks each does its part of it.
    """
    waiting = [member for member in run.recipe.members if member.name not in run.record["members"]]
    if run.crew.first:
        say_finished(run)
    enlist(run, len(waiting))
    try:
        waiting, costs = measured(run, waiting)
        say_plan(run, waiting, costs)
        for number in run.crew.take(len(waiting)):
            train_next(run, waiting[number:], costs[number:])
    except RuntimeError as error:  # where one of the ranks that train together dies, the others' next operation fails
        if run.crew.team.size > 1:
            run.stop.check()
        lost = run.crew.lost(error)
        if not lost:
            raise
        run.log.quiet = False
        run.log(f"warning: {lost}")


def say_finished(run: Run) -> None:
    """Names what is finished already, and submits it."""
    for name, figures in run.record["members"].items():
        run.log(f"{name}: finished before, {percent(figures)}")
        clear_checkpoints(run, name)
    if run.record["members"]:
        closing.submit(run)


def enlist(run: Run, unfinished: int) -> None:
    """Settles with the other ranks who does what; alone there is nothing to settle."""
    name = devices.describe(str(run.device)) if run.device is not None else ""
    run.crew, run.devices = crew.agree(run.crew, run.device, name, unfinished)
    if run.crew.about and run.crew.first:
        run.log(run.crew.about)
        with run.changing():
            run.record["ranks"] = list(run.devices.values())
    run.log.quiet = not run.crew.keeps


def train_next(run: Run, waiting: list[Member], costs: list[Cost]) -> None:
    """Trains the first of the members that are waiting, or leaves it out."""
    member, cost = waiting[0], costs[0]
    if run.crew.keeps:
        run.part.members.add(member.name)
    own = cost.predict + run.reserve
    try:
        fits, done, epochs, others = run.crew.team.of_first(lambda: share_of_time(run, waiting, costs, own))
        if not fits:
            raise TimeUp(f"no epoch of {member.name} fits into the time that is left")
        run.crew.begins(member.name, cost.total(epochs))
        train_member(run, member, cost, done + epochs, own, others)
    except (TimeUp, UserError) as reason:
        leave_out(run, member, reason)
        return
    if run.crew.keeps:
        closing.submit(run)
        clear_checkpoints(run, member.name)


def share_of_time(run: Run, waiting: list[Member], costs: list[Cost], own: float) -> tuple[bool, int, int, float]:
    """For the first of the members: whether it can come to an end at all, the epochs behind it, further ones that fit,
    and the seconds that those after it will take on this rank.

    own: seconds for what comes after its last epoch.
    """
    busy = run.crew.busy()
    done, epochs = allotted(run, waiting, costs, busy)
    takers, _ = sequence(costs, epochs, busy)
    after = zip(costs[1:], epochs[1:], takers[1:], strict=True)
    others = sum(cost.total(n) for cost, n, taker in after if n and taker == 0)
    return bool(epochs[0] or (done and run.deadline.left() >= own)), done, epochs[0], others


def allotted(run: Run, waiting: list[Member], costs: list[Cost], busy: list[float]) -> tuple[int, list[int]]:
    """The epochs that the first member has behind it, and the further ones that fit of each.

    busy: seconds until each rank is free.
    """
    behind = [left_to_train(run, member) for member in waiting]
    return behind[0][0], allot_among(costs, [n for _, n in behind], run.deadline.left() - run.reserve, busy)


def leave_out(run: Run, member: Member, reason: Exception) -> None:
    """The run goes on without a member, and says so: for want of time, or since it cannot be trained."""
    if run.crew.keeps:
        run.part.members.add(member.name)
    run.record["left_out" if isinstance(reason, TimeUp) else "missing"][member.name] = str(reason)
    run.log(f"warning: {reason}; the run goes on without {member.name}")
    if run.crew.size > 1 and run.crew.keeps:
        run.save()


def measured(run: Run, members: list[Member]) -> tuple[list[Member], list[Cost]]:
    """The members that can be trained, and what each will cost; the others are left out."""
    found = list(zip(members, run.crew.costs(members, lambda member: measure(run, member)), strict=True))
    for member, cost in found:
        if isinstance(cost, str) and run.crew.first:
            leave_out(run, member, UserError(cost))
    known = [(member, cost) for member, cost in found if isinstance(cost, Cost)]
    return [member for member, _ in known], [cost for _, cost in known]


def measure(run: Run, member: Member) -> Cost | str:
    """What a member costs, from a warm-up on the run's own rows; a reason where it cannot be trained."""
    run.stop.check()
    precision = precisions.choose(member.precision, run.device)
    try:
        member, train_rows = run.crew.part(member, run.train_rows)
        rows = run.rows(train_rows), run.rows(run.valid_rows)
        return plan.measure(member, *rows, len(run.data.test), precision, run.starts[member.name].file)
    except UserError as reason:
        return str(reason)


def say_plan(run: Run, members: list[Member], costs: list[Cost]) -> None:
    """The plan in log and run.json."""
    if not members or not run.crew.first:
        return
    left, shared = run.deadline.left(), run.crew.team.size == 1 and run.crew.size > 1
    _, epochs = allotted(run, members, costs, [0.0] * (len(run.devices) if shared else 1))
    left_to_do = [replace(member, epochs=max(1, left_to_train(run, member)[1])) for member in members]
    if shared:
        lines = plan.table_by_rank(left_to_do, costs, epochs, left, run.devices)
    else:
        lines = plan.table(left_to_do, costs, epochs, left, ", ".join(run.devices.values()))
    for line in lines:
        run.log(line)
    planned = zip(members, costs, epochs, strict=True)
    figures = {m.name: {"epochs": n, "seconds": round(c.total(n), 1)} for m, c, n in planned}
    if run.crew.size == 1:
        run.record["plan"] = figures
        return
    with run.changing():
        run.record["plan"] = figures
