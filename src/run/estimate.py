"""What each member will cost, from a short warm-up, and how the budget is shared; the `plan` command prints it."""

from dataclasses import dataclass, replace

from src.errors import UserError
from src.run.context import Inputs, RunContext, RunRequest
from src.run.prepare import read_inputs
from src.run.ranks import Process
from src.run.trainings import Training
from src.train import budget
from src.train.budget import TimeEstimate
from src.train.device import describe_device
from src.train.estimate import estimate_member, estimate_table


@dataclass(frozen=True)
class Demand:
    """A training that is to be done: its time, the epochs that it has finished, and further ones that it wants."""

    training: Training
    time: TimeEstimate
    done: int
    epochs: int

    member = property(lambda self: self.training.member)


def estimate(request: RunRequest, processes: int = 1) -> list[str]:
    """The lines of the `plan` command. Leaves nothing on the disk.

    processes: those that would share the members, each on a device like this one. Raises UserError for what would stop
    the run before its first epoch, and for a member that does not fit into memory.
    """
    inputs = read_inputs(request, Process())
    times = {}
    demands = [Demand(t, measure(t, inputs, times), 0, t.member.epochs) for t in request.trainings]
    return allocation_table(demands, request.budget.left(), describe_device(str(inputs.device)), processes)


def allocation_table(demands: list[Demand], left: float, device: str, processes: int) -> list[str]:
    """The estimate for people: the seconds of each member, and the sum against what is left of the budget."""
    epochs = allocate_epochs(demands, left, processes)
    members = [replace(d.member, epochs=max(1, d.epochs)) for d in demands]
    lines = estimate_table(members, [d.time for d in demands], epochs, left, device)
    return lines if processes == 1 else [*lines, f"  shared by {processes} ranks, each on a device of its own"]


def measure(training: Training, inputs: Inputs, times: dict[str, TimeEstimate]) -> TimeEstimate:
    """A training's time from a warm-up; UserError where it does not fit into memory.

    times: of members that were measured before, to which this one's is added: a member's folds and seeds cost the same.
    """
    if training.base not in times:
        times[training.base] = estimate_member(inputs.train_job(training), len(inputs.data.test))
    return times[training.base]


def measure_all(context: RunContext) -> dict[str, Demand | UserError]:
    """What each training still demands that an earlier start has not finished, or why it cannot be done."""
    progress, found, times = context.folder.read_record().progress, {}, {}
    for training in (training for training in context.request.trainings if training.name in context.shared.waiting):
        context.signals.check()
        name, done, scheduled = training.name, 0, training.member.epochs
        if name in progress and context.folder.checkpoints(name):
            done, scheduled = progress[name].epochs, progress[name].scheduled_epochs
        try:
            found[name] = Demand(training, measure(training, context.inputs, times), done, max(0, scheduled - done))
        except UserError as reason:
            found[name] = UserError(str(reason))  # without its traceback, which holds the network in memory
    return found


def allocate_epochs(demands: list[Demand], left: float, processes: int = 1) -> list[int]:
    """The epochs of each member that fit into `left` seconds.

    Of several processes, each is assumed to train every n-th member.
    """
    epochs = [0] * len(demands)
    for number in range(processes):
        part = demands[number::processes]
        epochs[number::processes] = budget.allocate_epochs([d.time for d in part], [d.epochs for d in part], left)
    return epochs
