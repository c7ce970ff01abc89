"""What each member will cost, from a short warm-up, and how the budget is shared; the `plan` command prints it."""

from dataclasses import dataclass, replace

from src.config import Member
from src.errors import UserError
from src.run.context import Inputs, OneProcess, RunContext, RunRequest
from src.run.prepare import read_inputs
from src.train import device as devices
from src.train import plan
from src.train import precision as precisions
from src.train.deadline import Cost, Deadline, allot


@dataclass(frozen=True)
class Demand:
    """A member that is to be trained: its cost, the epochs that it has finished, and further ones that it wants."""

    member: Member
    cost: Cost
    done: int
    epochs: int


def estimate(request: RunRequest, processes: int = 1) -> list[str]:
    """The lines of the `plan` command. Leaves nothing on the disk.

    processes: those that would share the members, each on a device like this one. Raises UserError for what would stop
    the run before its first epoch, and for a member that does not fit into memory.
    """
    inputs = read_inputs(request, OneProcess())
    demands = [Demand(m, measure(m, inputs), 0, m.epochs) for m in request.recipe.members]
    left = Deadline(request.recipe.time_budget_hours, request.started, request.clock).left()
    return table(demands, left, devices.describe(str(inputs.device)), processes)


def table(demands: list[Demand], left: float, device: str, processes: int) -> list[str]:
    """The estimate for people: the seconds of each member, and the sum against what is left of the budget."""
    epochs = allocate_epochs(demands, left, processes)
    members = [replace(d.member, epochs=max(1, d.epochs)) for d in demands]
    lines = plan.table(members, [d.cost for d in demands], epochs, left, device)
    return lines if processes == 1 else [*lines, f"  shared by {processes} ranks, each on a device of its own"]


def measure(member: Member, inputs: Inputs) -> Cost:
    """A member's cost from a warm-up on the run's own rows; UserError where it does not fit into memory."""
    rows = inputs.on_device(inputs.train_rows), inputs.on_device(inputs.valid_rows)
    precision = precisions.choose(member.precision, inputs.device)
    return plan.measure(member, *rows, len(inputs.data.test), precision, inputs.initial_weights[member.name].file)


def measure_all(context: RunContext) -> dict[str, Demand | UserError]:
    """What each waiting member still demands, or why it cannot be trained."""
    progress, found = context.folder.read_record().progress, {}
    for member in context.waiting:
        context.signals.check()
        done, scheduled = 0, member.epochs
        if member.name in progress and context.folder.checkpoints(member.name):
            done, scheduled = progress[member.name].epochs, progress[member.name].scheduled_epochs
        try:
            found[member.name] = Demand(member, measure(member, context.inputs), done, max(0, scheduled - done))
        except UserError as reason:
            found[member.name] = reason
    return found


def allocate_epochs(demands: list[Demand], left: float, processes: int = 1) -> list[int]:
    """The epochs of each member that fit into `left` seconds.

    Of several processes, each is assumed to train every n-th member.
    """
    epochs = [0] * len(demands)
    for number in range(processes):
        own = demands[number::processes]
        epochs[number::processes] = allot([d.cost for d in own], [d.epochs for d in own], left)
    return epochs
