"""run.json where several ranks write it: one at a time, and none takes back what another has put there."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAME = ".lock"
BY_MEMBER = ("members", "missing", "left_out", "progress")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is in this block for the same folder. A process that dies there leaves it."""
    import fcntl  # here: one process alone does without, also where there is none

    with (folder / NAME).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Part:
    """The part of run.json that one rank answers for: the members that it has trained, or could not."""

    members: set[str] = field(default_factory=set)

    def merged(self, own: dict, found: dict) -> dict:
        """`found`, as it stands in the file, with the entries of this rank's members as they are in `own`."""
        record = dict(found)
        for key in BY_MEMBER:
            mine = {name: value for name, value in own.get(key, {}).items() if name in self.members}
            record[key] = found.get(key, {}) | mine
        return record
