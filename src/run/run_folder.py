"""The folder of a run: the only place of its file names, and whose it is.

submission.csv  run.json  log.txt  oof.csv  near_copies.csv  report.html  figures/  predictions/<member>.npz
blended/<member>.npz, of a blend's folder: what it was made of
tracking/{wandb, tensorboard}
members/<member>/{result.json, history.csv, model.safetensors, attention_maps.npz, checkpoints}
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from src.errors import UserError
from src.files import digest, replacing, try_lock
from src.report import attention_history
from src.run.record import MemberResult, RunRecord, read_json, read_record
from src.train.checkpoint import FILE_NAMES, LATEST, MID_EPOCH, PREVIOUS

RUN_FILES = (
    "submission.csv", "run.json", "log.txt", "oof.csv", "report.html", "figures", "predictions", "members", "tracking",
    "blended", "near_copies.csv",
)  # fmt: skip
# What another start of the run needs. Not W&B's files: what an earlier start tracked is uploaded from there.
CARRIED = ("predictions", "members", "oof.csv", "near_copies.csv", "submission.csv", "run.json", "tracking/tensorboard")
ADVICE = "give another --output, or --overwrite to delete what a run left there."
AGAIN = "run or fetch it again."  # to those who only read the folder


@dataclass(frozen=True)
class RunFolder:
    """Where a run puts its files."""

    path: Path

    submission = property(lambda self: self.path / "submission.csv")
    record_file = property(lambda self: self.path / "run.json")
    log_file = property(lambda self: self.path / "log.txt")
    out_of_fold = property(lambda self: self.path / "oof.csv")
    near_copies = property(lambda self: self.path / "near_copies.csv")

    def predictions(self, member: str) -> Path:
        return self.path / "predictions" / f"{member}.npz"

    def blended(self, member: str) -> Path:
        """In a blend's folder: the predictions of one of its members, for the report."""
        return self.path / "blended" / f"{member}.npz"

    def member(self, member: str) -> Path:
        return self.path / "members" / member

    def result(self, member: str) -> Path:
        """The file that says that the member is finished."""
        return self.member(member) / "result.json"

    def history(self, member: str) -> Path:
        return self.member(member) / "history.csv"

    def weights_file(self, member: str) -> Path:
        return self.member(member) / "model.safetensors"

    tracking = property(lambda self: self.path / "tracking")  # what trackers write
    tracking_group = property(lambda self: self.path / "members" / "tracking_group")  # the run's name in W&B

    def wandb_id(self, member: str) -> Path:
        """The file with the id of the member's run in W&B."""
        return self.member(member) / "wandb_id"

    def attention_maps(self, member: str) -> Path:
        """The maps of some faces after some epochs, where `attention_maps_every` is set."""
        return self.member(member) / attention_history.FILE_NAME

    def checkpoints(self, member: str) -> list[Path]:
        """The member's checkpoints that are there."""
        return [path for name in FILE_NAMES if (path := self.member(member) / name).exists()]

    def files(self, *patterns: str) -> list[Path]:
        """The files of each pattern, in the order of the patterns."""
        return [file for pattern in patterns for file in sorted(self.path.glob(pattern))]

    def expendable(self) -> list[Path]:
        """Checkpoints in the order in which they are deleted for more important files; `.partial`: being written."""
        return self.files(*(f"members/*/{name}" for name in (PREVIOUS, MID_EPOCH, f"{LATEST}*")))

    def digests(self) -> dict[str, str]:
        """Name → SHA-256 of the files with results: not of run.json, the log, pages and what trackers wrote."""
        inside = (
            f"members/*/{name}"
            for name in ("result.json", "history.csv", "model.safetensors", attention_history.FILE_NAME)
        )
        beside = ("submission.csv", "oof.csv", "near_copies.csv", "predictions/*.npz", "blended/*.npz")
        files = self.files(*beside, *inside)
        return {file.relative_to(self.path).as_posix(): digest(file) for file in files}

    # ------------------------------------------------------------------------------------ whose it is

    def claim(self, record: RunRecord, overwrite: bool) -> RunRecord | None:
        """Makes the folder this run's own; returns the earlier run.json if it is of the same run, else None.

        Raises UserError where the folder holds another run's checkpoints or results, or files of a run's names without
        a run.json; with `overwrite`, files of these names are deleted instead, and nothing else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; give a folder as --output")
        earlier = None if overwrite else self.earlier_run(record)
        try:
            if earlier is None:
                self.clear()
            (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written to ({error.strerror}); give another --output") from error
        return earlier

    def require_idle(self) -> None:
        """Raises UserError where a process is at work on the run in this folder: its log is locked then."""
        with contextlib.suppress(OSError), self.log_file.open("rb") as file:
            if not try_lock(file, shared=False):
                raise UserError(f"{self.path}: another process is training this run.\nWait for its end, or stop it.")

    def require_only_runs(self) -> None:
        """Raises UserError for files of a run's names without a run.json: nobody knows whose they are."""
        foreign = [name for name in RUN_FILES if (self.path / name).exists()]
        if foreign and not self.record_file.exists():
            raise UserError(f"{self.path} holds {', '.join(foreign)} but no run.json; {ADVICE}")

    def earlier_run(self, record: RunRecord) -> RunRecord | None:
        """The run.json of an earlier start of the same run; None where there is nothing worth keeping."""
        self.require_only_runs()
        if not self.record_file.exists():
            return None
        earlier = self.read_record()
        results = self.files("members/*/result.json", "predictions/*.npz", "submission.csv")
        if not (earlier.blend or results or self.expendable()):
            return None
        if found := record.differences(earlier):
            what = f"a run of recipe {earlier.recipe_name} with {found}"
            raise UserError(f"{self.path} holds {what}.\n{ADVICE.capitalize()}")
        return earlier

    def owns(self, path: Path) -> bool:
        """Whether the path is this folder, or a file of a run's names in it: the run overwrites or deletes these."""
        path, folder = path.resolve(), self.path.resolve()
        return path == folder or (path.is_relative_to(folder) and path.relative_to(folder).parts[0] in RUN_FILES)

    def clear(self) -> None:
        """Deletes what an earlier run left, by its known names."""
        for name in RUN_FILES:
            target = self.path / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def copy_from(self, other: "RunFolder") -> None:
        """Takes over another run's files. Not their permissions: an attached input cannot be written to.

        They get their names when all are copied, so that an interrupted copy leaves nothing that looks like a result.
        """
        copied = self.path / "members" / ".attached"
        shutil.rmtree(copied, ignore_errors=True)
        for file in other.files(*CARRIED, *(f"{name}/**/*" for name in CARRIED)):
            if file.is_file():
                target = copied / file.relative_to(other.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        for file in sorted(copied.rglob("*"), key=lambda file: (file.name == "result.json", file)):
            if file.is_file():
                target = self.path / file.relative_to(copied)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
        shutil.rmtree(copied)

    # ---------------------------------------------------------------------------- run.json and results

    def read_record(self, advice: str = ADVICE) -> RunRecord:
        """run.json; UserError, which ends with the advice, where it is damaged or not of this kit."""
        return read_record(self.record_file, advice)

    def write_record(self, record: RunRecord) -> None:
        write_json(self.record_file, record)

    def read_results(self, members: list[str]) -> dict[str, MemberResult]:
        """The results of those of the members that are finished; UserError where one is damaged."""
        advice = "delete the file to train the member again."
        done = [name for name in members if self.result(name).exists()]
        return {name: read_json(MemberResult, self.result(name), advice) for name in done}

    def write_result(self, member: str, result: MemberResult) -> None:
        """Writes a member's result.json, by which the member is finished."""
        write_json(self.result(member), result)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """A block that one process at a time is in: of several ranks, each writes run.json and the submission."""
        try:
            import fcntl
        except ImportError:  # Windows, where a run is one process
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def refuse_run(output: Path) -> None:
    """Raises UserError where the folder for a page is a file, or is that of a run, whose own pages must stay."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; give a folder as --output")
    if RunFolder(output).record_file.exists():
        raise UserError(f"{output} holds a run, whose files must stay.\nGive another --output.")


def write_json(path: Path, content: object) -> None:
    """Writes readable JSON, dataclasses as objects, under a temporary name first."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=asdict) + "\n", encoding="utf-8")
