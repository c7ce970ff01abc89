"""Continues an earlier start of the same run, from its folder or from a run that is attached as an input."""

from src.bounded_io import list_files
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.run.context import RunRequest
from src.run.record import RunRecord
from src.run.run_folder import RunFolder
from src.train.tracking import Log


def resume(request: RunRequest, folder: RunFolder, record: RunRecord, earlier: RunRecord | None, log: Log) -> None:
    """Takes into the record what an earlier start has finished, here or in a run that is attached as an input.

    A member whose predictions cannot be used is trained again; its result is deleted.
    """
    if earlier:
        log(f"continues the run in {folder.path} ({earlier.status})")
    elif attached := furthest_attached(request, folder, record, log):
        folder.copy_from(attached)
        log(f"continues the run attached in {attached.path}")
        earlier = folder.read_record()
    else:
        return
    record.seconds, record.progress = earlier.seconds, earlier.progress
    for training in request.trainings:
        if not folder.result(training.name).exists():
            continue
        try:
            load_predictions(folder.predictions(training.name), record.data_digest, record.rows.test)
            record.members |= folder.read_results([training.name])
        except UserError as error:
            log(f"warning: {training.name} is trained again, since its files cannot be used: {error}")
            folder.result(training.name).unlink()


def furthest_attached(request: RunRequest, folder: RunFolder, record: RunRecord, log: Log) -> RunFolder | None:
    """Of the runs below the input folder that are this very run the one that is furthest; of equals, the newest.

    Logs for each other run why it is not used.
    """
    found = []
    for file in list_files(request.input):
        other = RunFolder(file.parent)
        if file != other.record_file or other.path.resolve() == folder.path.resolve():
            continue
        try:
            reason = record.differences(earlier := other.read_record())
        except UserError:
            reason = "its run.json is damaged, or not of this kit"
        if reason:
            log(f"{other.path}: an earlier run, not used: {reason}")
        else:
            found.append((finished_epochs(other, earlier, request), other.record_file.stat().st_mtime, other))
    found.sort(key=lambda one: one[:2])
    for epochs, _, other in found[:-1]:
        log(f"{other.path}: an earlier start of this run, not used: {epochs} epochs, and another has {found[-1][0]}")
    return found[-1][-1] if found else None


def finished_epochs(folder: RunFolder, record: RunRecord, request: RunRequest) -> int:
    """The epochs that need no training again: all of a finished member's, of another one's those in checkpoints."""
    total = 0
    for training in request.trainings:
        name = training.name
        if folder.result(name).exists() and folder.predictions(name).exists():
            total += training.member.epochs
        elif name in record.progress and folder.checkpoints(name):
            total += record.progress[name].epochs
    return total
