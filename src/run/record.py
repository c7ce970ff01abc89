"""run.json and result.json: what a run records, as dataclasses whose fields validate what is read back.

Bounds: 4 MB of text, nested 20 deep. Keys that the kit does not know are dropped.
"""

import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from src.bounded_io import parse_json, read_bytes
from src.errors import UserError

MAX_BYTES = 4_000_000  # a run of two members has 5,000
MAX_TEXT = 500  # characters
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")  # becomes part of a file name
FINISHED, RUNNING, INTERRUPTED, FAILED = "finished", "running", "interrupted", "failed"


class Name(str):
    """A text that may become part of a file name."""


class Sha256(str):
    """64 hexadecimal digits."""


class Record:
    """A dataclass that JSON is made of and read back into."""

    def to_json(self) -> dict:
        """Plain dicts, lists and values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object, where: str = "it") -> typing.Self:
        """The record in a parsed JSON value; ValueError, which names the key, for a value of another type or range."""
        return decode(cls, value, where)


@dataclass(frozen=True)
class Code(Record):
    """The sources that ran."""

    digest: str
    commit: str
    dirty: bool


@dataclass(frozen=True)
class RunIdentity(Record):
    """The digests that tell one run from another; config_hash covers the seed."""

    config_hash: str
    data_digest: str
    code_digest: str

    def differences(self, other: "RunIdentity") -> str:
        """In words, in what another run differs from this one; empty where it does not."""
        words = {"config_hash": "other settings", "data_digest": "other data", "code_digest": "other sources"}
        return " and ".join(word for key, word in words.items() if getattr(self, key) != getattr(other, key))


@dataclass(frozen=True)
class RowCounts(Record):
    """Rows of the split, and of test.csv."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class MemberResult(Record):
    """A trained member. Accuracies and macro-F1 are 0-1, train_seconds and images_per_second are of training alone."""

    valid_accuracy: float
    valid_f1: float
    train_accuracy: float
    best_epoch: int
    epochs: int
    images_per_second: float
    train_seconds: float = 0.0
    parameters: int = 0
    precision: str = ""
    initial_weights: str = ""
    accumulation_steps: int = 1
    rollbacks: int = 0
    scheduled_epochs: int | None = None


@dataclass(frozen=True)
class EnsembleResult(Record):
    """The blend that the submission is made of."""

    members: list[Name]
    valid_accuracy: float
    valid_f1: float


@dataclass(frozen=True)
class Progress(Record):
    """Epochs that a member has finished, and those of its schedule."""

    epochs: int
    scheduled_epochs: int


@dataclass(frozen=True)
class MemberEstimate(Record):
    """Epochs and seconds that were estimated for a member before training."""

    epochs: int
    seconds: float


@dataclass
class RunRecord(Record):
    """run.json. failed, skipped: name → reason; files: name → SHA-256; ranks: the devices of several processes."""

    status: str
    code: Code
    recipe: dict
    config_hash: str
    data_digest: str
    rows: RowCounts
    device: str
    seconds: float = 0.0
    environment: dict = field(default_factory=dict)
    members: dict[Name, MemberResult] = field(default_factory=dict)
    failed: dict[Name, str] = field(default_factory=dict)
    skipped: dict[Name, str] = field(default_factory=dict)
    progress: dict[Name, Progress] = field(default_factory=dict)
    estimate: dict[Name, MemberEstimate] = field(default_factory=dict)
    ensemble: EnsembleResult | None = None
    files: dict[str, Sha256] = field(default_factory=dict)
    ranks: list[str] = field(default_factory=list)

    def __post_init__(self):
        decode(Name, self.recipe.get("name"), "recipe.name")
        decode(int, self.recipe.get("seed"), "recipe.seed")

    @property
    def identity(self) -> RunIdentity:
        """The digests that tell this run from another."""
        return RunIdentity(self.config_hash, self.data_digest, self.code.digest)

    @property
    def recipe_name(self) -> str:
        """The recipe's name."""
        return self.recipe["name"]


def read_record(path: Path, advice: str) -> RunRecord:
    """The record in a run.json; UserError, with `advice`, where it cannot be read, is no JSON, or is no such record."""
    return read_json(RunRecord, path, advice)


def read_json(kind: type[Record], path: Path, advice: str) -> Record:
    """The record of that kind in a JSON file; UserError, with `advice`, where there is none."""
    text = read_bytes(path, MAX_BYTES, advice)
    try:
        return kind.from_json(parse_json(text))
    except ValueError as error:
        raise UserError(f"{path}: not a {path.name} of this kit, or damaged ({error}); {advice}") from None


def require_finished(record: RunRecord, path: Path) -> None:
    """Raises UserError where a run has not finished."""
    if record.status != FINISHED or not record.members or record.ensemble is None:
        raise UserError(f"{path}: the run is {record.status}; run the same command again to finish it")


# ------------------------------------------------------------------------------------------ decoding


def decode(kind: object, value: object, where: str) -> object:
    """A parsed JSON value as the declared `kind`; ValueError, which says where, for anything else."""
    if isinstance(kind, types.UnionType):  # the only union here is `X | None`
        return None if value is None else decode(typing.get_args(kind)[0], value, where)
    if dataclasses.is_dataclass(kind):
        return decode_fields(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict:
        require(isinstance(value, dict), f"{where} is no object")
        pairs = [(decode(arguments[0], key, f"a key of {where}"), key) for key in value]
        return {name: decode(arguments[1], value[key], f"{where}.{name}") for name, key in pairs}
    if origin is list:
        require(isinstance(value, list), f"{where} is no list")
        return [decode(arguments[0], item, where) for item in value]
    require(SCALARS[kind](value), f"{where} is {value!a:.40}")
    return value


def decode_fields(kind: type, value: object, where: str) -> object:
    """A JSON object as a dataclass. Fields without a default must be there."""
    require(isinstance(value, dict), f"{where} is no object")
    kinds, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    require(needed <= value.keys(), f"{where} lacks {', '.join(sorted(needed - value.keys()))}")
    known = [f.name for f in fields if f.name in value]
    return kind(**{name: decode(kinds[name], value[name], f"{where}.{name}".removeprefix("it.")) for name in known})


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()


def as_text(text: str) -> str:
    """A text as a record may hold it: one line of printable characters, cut where it is too long."""
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_TEXT]


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def is_number(value: object) -> bool:
    """A number of reasonable size, or NaN."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and not abs(value) >= 1e12


SCALARS = {
    str: is_text,
    int: is_count,
    float: is_number,
    bool: lambda value: isinstance(value, bool),
    dict: lambda value: isinstance(value, dict),
    Name: lambda value: isinstance(value, str) and bool(NAME.fullmatch(value)),
    Sha256: lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)),
}
