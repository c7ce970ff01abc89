"""The folder of a run: what lies where, whose it is, and run.json.

submission.csv  run.json  log.txt  predictions/<member>.npz  members/<member>/{history.csv, model.safetensors}
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from src import run_json
from src.errors import UserError
from src.files import digest, replacing

OWN = ("submission.csv", "run.json", "log.txt", "predictions", "members")
ADVICE = "give another --output, or --overwrite to delete what a run left there."


@dataclass(frozen=True)
class RunFolder:
    """Where a run puts its files."""

    path: Path

    @property
    def submission(self) -> Path:
        return self.path / "submission.csv"

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def predictions(self, member: str) -> Path:
        return self.path / "predictions" / f"{member}.npz"

    def member(self, member: str) -> Path:
        """The member's own folder; made if it is not there."""
        folder = self.path / "members" / member
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def digests(self) -> dict[str, str]:
        """Name → SHA-256 of each file that a finished run leaves, but for its log and run.json itself."""
        patterns = ("submission.csv", "predictions/*.npz", "members/*/history.csv", "members/*/model.safetensors")
        files = [file for pattern in patterns for file in sorted(self.path.glob(pattern))]
        return {file.relative_to(self.path).as_posix(): digest(file) for file in files}

    def claim(self, identity: dict, overwrite: bool) -> dict | None:
        """Makes the folder this run's own; the earlier run.json where the same run goes on, else None.

        identity: "recipe_digest", "data_digest" and "source_digest". Raises UserError where the folder holds a run with
        other ones that has something to lose, or files of a run's names that no run of this kit left; unless
        `overwrite`: then what bears these names is deleted, and nothing else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; give a folder as --output")
        earlier = None if overwrite else self.earlier(identity)
        if earlier is None:
            self.clear()
        (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        return earlier

    def earlier(self, identity: dict) -> dict | None:
        """The run.json of an earlier start of this very run; None where there is nothing worth keeping."""
        if not self.run_json.exists():
            foreign = [name for name in OWN if (self.path / name).exists()]
            if foreign:
                raise UserError(f"{self.path} holds {', '.join(foreign)} but no run.json; {ADVICE}")
            return None
        earlier = self.read()
        if not earlier["members"] and not any(self.path.glob("members/*/checkpoint*.pt")):
            return None
        if found := differences(earlier, identity):
            name = earlier["recipe"].get("name")
            raise UserError(f"{self.path} holds a run of recipe {name} with {found}.\n{ADVICE.capitalize()}")
        return earlier

    def clear(self) -> None:
        """Deletes what an earlier run left, by its known names."""
        for name in OWN:
            target = self.path / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def read(self) -> dict:
        """run.json; UserError where it is damaged or not of this kit."""
        return run_json.read(self.run_json, ADVICE)

    def write(self, content: dict) -> None:
        """run.json, under a temporary name first."""
        with replacing(self.run_json) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def differences(earlier: dict, identity: dict) -> str:
    """In words, in what an earlier run.json differs from this run; empty where it is the same in all.

    identity: "recipe_digest" (which holds the seed), "data_digest" and "source_digest".
    """
    source = earlier.get("source")
    theirs = earlier | {"source_digest": source.get("digest") if isinstance(source, dict) else None}
    words = {"recipe_digest": "other settings", "data_digest": "other data", "source_digest": "other sources"}
    return " and ".join(word for key, word in words.items() if theirs.get(key) != identity[key])
