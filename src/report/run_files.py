"""What a run's folder holds, as far as it can be read: what is missing or damaged becomes a line.

The folder may be half finished, of an older kit, fetched without some files, or changed by hand.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from src.bounded_io import parse_json, read_bytes
from src.data.competition import Competition
from src.ensemble.blend import blend, fitted_blend
from src.ensemble.merging import without_fold
from src.ensemble.methods import METHODS
from src.ensemble.predictions import Predictions, load_predictions
from src.errors import UserError
from src.files import digest

_RECORD_LIMIT, _HISTORY_LIMIT = 4_000_000, 2_000_000  # bytes
_OLD_SHARES = ("train_accuracy", "valid_accuracy", "valid_f1")  # columns of older kits, 0-1 instead of per cent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_BLEND = "blend"  # the predictions file of a blend's folder


@dataclass(frozen=True)
class RunFiles:
    """What was read of a run's folder.

    record: run.json, whose values may have any type where it is damaged; empty where it cannot be read. history: by
    member, accuracies in per cent. predictions: by member; of a blend's folder what was blended. blended: the
    probabilities that the submission is made of; None where they cannot be told. data: None where it is not there.
    problems: what is missing or damaged, a line each.
    """

    folder: Path
    record: dict
    history: dict[str, pd.DataFrame] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    blended: Predictions | None = None
    data: Competition | None = None
    problems: tuple[str, ...] = ()

    @cached_property
    def members(self) -> list[str]:
        """All members of which something is known, in the recipe's order, then in that of run.json."""
        return member_names(self.record, (*self.history, *self.predictions))

    def without_fold(self, member: str) -> str:
        """What the trainings of a member on all folds have in common, by seed; else the member's name."""
        is_of_fold = dict_of(self.record, "recipe").get("fold") == "all"
        return without_fold(member) if is_of_fold else member

    @cached_property
    def compared(self) -> dict[str, Predictions]:
        """Predictions by member. The folds of a member are one: together they have predicted all rows."""
        parts: dict[str, list[Predictions]] = {}
        for name, one in self.predictions.items():
            parts.setdefault(self.without_fold(name), []).append(one)
        return {name: blend(part) if len(part) > 1 else part[0] for name, part in parts.items()}

    @property
    def blended_members(self) -> list[str]:
        """Those of `compared` that the submission is made of."""
        if dict_of(self.record, "blend"):
            return list(self.compared)
        named = map(self.without_fold, texts_of(dict_of(self.record, "ensemble").get("members")))
        return [name for name in dict.fromkeys(named) if name in self.compared] or list(self.compared)

    @property
    def method(self) -> str:
        """How the members are blended."""
        method = dict_of(self.record, "ensemble").get("method", "mean")
        return method if isinstance(method, str) and method in METHODS else "mean"

    @cached_property
    def scored(self) -> dict[str, Predictions]:
        """What can be compared with labels: `compared`, then the blend's predictions as `blend`.

        Without the competition's files, and where no validation row was predicted, there is nothing.
        """
        if self.data is None:
            return {}
        found = dict(self.compared)
        if self.blended and len(self.blended_members) != 1:
            found[_BLEND if _BLEND not in found else "the blend"] = self.blended
        return {name: one for name, one in found.items() if len(one.valid_rows)}

    def labels(self, predictions: Predictions) -> np.ndarray:
        """The labels of the validation rows, int64 (v,)."""
        return self.data.train.labels[predictions.valid_rows]

    def result(self, member: str) -> dict:
        """What run.json says of a finished member; empty where it says nothing."""
        return dict_of(self.record, "members", member)

    def weights_file(self, member: str) -> Path | None:
        """The member's weights; None where they are not in the folder."""
        file = self.folder / "members" / member / "model.safetensors"
        return file if file.is_file() else None


def read_run(folder: Path, data: Competition | None, problem: str = "") -> RunFiles:
    """Reads what there is of a run. data: the competition's files; None with `problem`, the line that says why.

    Raises UserError where the folder holds nothing of a run.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.\nName the folder of a run.")
    problems = [problem] if problem else []
    record = _read_record(folder, problems)
    if data and record.get("data_digest") not in (None, data.digest):
        here, ran = data.digest, record["data_digest"]
        problems.append(f"The competition's files are other data ({here}; the run had {ran}): no labels, no faces.")
        data = None
    history = dict(_read_histories(folder, record, problems))
    found = dict(_read_predictions(folder, record, data, problems))
    is_blend = bool(record.get("blend"))
    blended = found.pop(_BLEND, None) if is_blend else None
    found |= _read_predictions(folder, record, data, problems, "blended") if is_blend else {}
    if not (record or history or found or blended):
        raise UserError(f"{folder}: no run.json, history or predictions there.\nName the folder of a run.")
    run = RunFiles(folder, record, history, found, blended, data)
    if not is_blend:
        blended = _blend_members(run, problems)
        problems += _missing_files(run)
    return RunFiles(folder, record, history, found, blended, data, tuple(problems))


def member_names(record: dict, others: tuple[str, ...] = ()) -> list[str]:
    """The members that a run.json names, in the recipe's order, then others of which there is a file."""
    finished = [name for key in ("members", "progress", "failed", "skipped") for name in dict_of(record, key)]
    recipe = [member["name"] for member in recipe_members(record) if member["name"] in (*finished, *others)]
    return [name for name in dict.fromkeys([*recipe, *finished, *others]) if _NAME.fullmatch(name)]


def recipe_members(record: dict) -> list[dict]:
    """The settings of each member of the recipe, as far as they are such."""
    members = dict_of(record, "recipe").get("members")
    members = members if isinstance(members, list) else []
    return [one for one in members if isinstance(one, dict) and isinstance(one.get("name"), str)]


def dict_of(record: dict, *keys: str) -> dict:
    """The object at a path of keys; empty where there is none."""
    found: object = record
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def texts_of(value: object) -> list[str]:
    """The texts of a list; empty where it is none."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


# ------------------------------------------------------------------------------------- reading the files


def _read_record(folder: Path, problems: list[str]) -> dict:
    try:
        record = parse_json(read_bytes(folder / "run.json", _RECORD_LIMIT, ""))
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
    except (UserError, ValueError) as error:
        problems.append(f"run.json is not shown: {_reason(error, folder)}.")
        return {}
    return record


def _files(folder: Path, record: dict, pattern: str, problems: list[str]) -> Iterator[tuple[str, Path]]:
    """Member and path of each file of a pattern; `*` is the member's name."""
    place = pattern.index("*")
    for file in sorted(folder.glob(pattern)):
        inside = file.relative_to(folder).as_posix()
        name = inside[place:].split("/")[0].removesuffix(".npz")
        if not _NAME.fullmatch(name):
            problems.append(f"{inside} is not shown: it has no member's name.")
            continue
        expected = dict_of(record, "files").get(inside)
        if expected and file.is_file() and digest(file) != expected:
            problems.append(f"{inside} was changed since the run wrote it: its SHA-256 is not the one in run.json.")
        yield name, file


def _read_histories(folder: Path, record: dict, problems: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, file in _files(folder, record, "members/*/history.csv", problems):
        try:
            table = pd.read_csv(io.BytesIO(read_bytes(file, _HISTORY_LIMIT, "")))
            yield name, in_per_cent(table)
        except (UserError, ValueError, KeyError, pd.errors.ParserError) as error:
            problems.append(f"members/{name}/history.csv is not shown: {_reason(error, file)}.")


def in_per_cent(table: pd.DataFrame) -> pd.DataFrame:
    """A history with numbers alone, accuracies in per cent; older kits wrote them from 0 to 1. KeyError: no epochs."""
    numbers = table.drop(columns="member", errors="ignore").apply(pd.to_numeric, errors="coerce")
    for old in _OLD_SHARES:
        if old in numbers and f"{old}_percent" not in numbers:
            numbers[f"{old}_percent"] = 100 * numbers.pop(old)
    return numbers[numbers["epoch"].notna()]


def _read_predictions(
    folder: Path, record: dict, data: Competition | None, problems: list[str], place: str = "predictions"
) -> Iterator[tuple[str, Predictions]]:
    expected = record.get("data_digest") if isinstance(record.get("data_digest"), str) else None
    found = dict(_files(folder, record, f"{place}/*.npz", problems))
    for name in [name for name in member_names(record, tuple(found)) if name in found]:
        try:
            one = load_predictions(found[name], expected or (data and data.digest))
            if data and len(one.valid_rows) and one.valid_rows[-1] >= len(data.train):
                raise ValueError(f"row {one.valid_rows[-1]} is predicted; the data has {len(data.train):,} rows")
            yield name, one
        except (UserError, ValueError) as error:
            problems.append(f"{place}/{name}.npz is not shown: {_reason(error, found[name])}.")


def _blend_members(run: RunFiles, problems: list[str]) -> Predictions | None:
    """The blend of the members of the submission; None where one of them is missing, or what it is fitted to."""
    named = texts_of(dict_of(run.record, "ensemble").get("members"))
    if missing := [name for name in named if name not in run.predictions]:
        problems.append(f"The blend is not shown: the predictions of {', '.join(missing)} are missing.")
        return None
    try:
        members = [run.predictions[name] for name in named or run.predictions]
        if not members or run.method == "mean":
            return blend(members) if members else None
        return fitted_blend(members, run.method, run.data.train.labels) if run.data else None
    except UserError as error:
        problems.append(f"The blend is not shown: {_reason(error, run.folder)}.")
        return None


def _missing_files(run: RunFiles) -> list[str]:
    """A line for each file that a finished member should have."""
    lines = []
    for name in run.members:
        if not run.result(name):
            continue
        parts = {"predictions": (run.predictions, f"predictions/{name}.npz")}
        parts["history"] = run.history, f"members/{name}/history.csv"
        lines += [f"{path} is missing." for have, path in parts.values() if not (run.folder / path).exists()]
    return lines


def _reason(error: Exception, place: Path) -> str:
    """The first line of an error, without the path that stands before it."""
    text = (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
    for prefix in (f"{place}: ", f"{place / 'run.json'}: "):
        text = text.removeprefix(prefix)
    return text
