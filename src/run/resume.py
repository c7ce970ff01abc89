"""Continues an earlier start of the same run, from its folder or from a run that is attached as an input."""

from pathlib import Path

from src.bounded_io import list_files
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.run.context import RunRequest
from src.run.folder import RunFolder
from src.run.record import RunIdentity, RunRecord
from src.train.tracking import Log


def resume(request: RunRequest, folder: RunFolder, record: RunRecord, earlier: RunRecord | None, log: Log) -> None:
    """Takes into the record what an earlier start has finished, here or in a run that is attached as an input.

    A member whose predictions cannot be used is trained again; its result is deleted.
    """
    if earlier:
        log(f"continues the run in {folder.path} ({earlier.status})")
    elif attached := newest_attached(request.input, folder, record.identity, log):
        folder.copy_from(attached)
        log(f"continues the run attached in {attached.path}")
        earlier = folder.read_record()
    else:
        return
    record.seconds, record.progress = earlier.seconds, earlier.progress
    for member in request.recipe.members:
        if not folder.result(member.name).exists():
            continue
        try:
            load_predictions(folder.predictions(member.name), record.data_digest, record.rows.test)
            record.members |= folder.read_results([member.name])
        except UserError as error:
            log(f"warning: {member.name} is trained again, since its files cannot be used: {error}")
            folder.result(member.name).unlink()


def newest_attached(source: Path, folder: RunFolder, identity: RunIdentity, log: Log) -> RunFolder | None:
    """The newest run below `source` that is this very run. Logs for each other run why it is not used."""
    found = []
    for file in list_files(source):
        other = RunFolder(file.parent)
        if file != other.run_json or other.path.resolve() == folder.path.resolve():
            continue
        try:
            reason = identity.differences(other.read_record().identity)
        except UserError:
            reason = "its run.json is damaged, or not of this kit"
        if reason:
            log(f"{other.path}: an earlier run, not used: {reason}")
        else:
            found.append(other)
    return max(found, key=lambda other: other.run_json.stat().st_mtime, default=None)
