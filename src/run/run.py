"""A run: trains each member as long as time allows, blends what is finished, and has a submission at every moment."""

from src.errors import UserError
from src.run.context import RunContext, RunRequest, Shared
from src.run.finish import finish, record_end
from src.run.members import submit_finished, train_members
from src.run.prepare import join, join_to_finish, prepare
from src.run.ranks import Process
from src.run.record import RunRecord
from src.run.report import write_report
from src.train.device import describe_device
from src.train.signals import StopSignals


def run(request: RunRequest, process: Process | None = None) -> RunRecord:
    """Trains the recipe and leaves a valid submission.csv in the output folder; returns run.json.

    The same call again continues the run. process: this one of several; the last one to end finishes the run. Raises
    UserError for bad input, where the folder holds another run or no member could be finished; Stopped after a signal.
    """
    process = process or Process()
    with StopSignals() as signals:
        context = prepare_or_join(request, signals, process)
        try:
            if not (record := train_and_finish(context)):
                return context.folder.read_record()
            write_report(context)
            return record
        finally:
            context.log.close()


def train_and_finish(context: RunContext) -> RunRecord | None:
    """The run up to its submission; None where other processes have not ended yet. Records how it ended."""
    try:
        train_members(context)
        return finish(context) if context.process.is_last() else None
    except BaseException as error:
        record_end(context, error)
        raise


def prepare_or_join(request: RunRequest, signals: StopSignals, process: Process) -> RunContext:
    """The first process prepares the run and tells the others, which wait for it."""
    if process.rank == 0:
        try:
            context = prepare(request, signals, process)
        except UserError:
            process.tell(None)  # it is said once, by this process
            raise
        process.tell(context.shared)
    elif (shared := process.hear(signals)) is None:
        raise SystemExit(0)
    else:
        context = join(request, signals, process, Shared(**shared))
    if process.world_size > 1:
        with context.changing_record() as record:
            record.ranks[process.rank] = describe_device(str(context.inputs.device))
    return context


def finish_lost_run(request: RunRequest) -> RunRecord:
    """Finishes a run whose processes have died: blends the finished members and records the others as failed."""
    with StopSignals() as signals:
        context = join_to_finish(request, signals)
        try:
            submit_finished(context)  # a process may have died between a member's result and its blend
            record = finish(context)
            write_report(context)
            return record
        except BaseException as error:
            record_end(context, error)
            raise
        finally:
            context.log.close()
