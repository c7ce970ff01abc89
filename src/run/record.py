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
from src.ensemble.methods import BlendFigures
from src.errors import UserError
from src.recipe_changes import described_differences

MAX_BYTES = 4_000_000  # a run of two members has 5,000
MAX_TEXT = 500  # characters
FINISHED, RUNNING, INTERRUPTED, FAILED = "finished", "running", "interrupted", "failed"
BLEND = "blend"  # the recipe's name in a blend's run.json, and the name of its predictions file

Name = typing.NewType("Name", str)  # a text that may become part of a file name
Sha256 = typing.NewType("Sha256", str)


@dataclass(frozen=True)
class Code:
    """The sources that ran."""

    digest: str
    commit: str
    dirty: bool


@dataclass(frozen=True)
class RunIdentity:
    """The digests that tell one run from another; config_hash covers the seed.

    targets_digest: of the predictions that the members learn from; empty where the labels are all. weights_digest: of
    the files with their initial weights; empty where all are random.
    """

    config_hash: str
    data_digest: str
    code_digest: str
    targets_digest: str = ""
    weights_digest: str = ""

    def differences(self, other: "RunIdentity") -> str:
        """In words, in what another run differs from this one; empty where it does not."""
        words = {
            "config_hash": "other settings",
            "data_digest": "other data",
            "code_digest": "other sources",
            "targets_digest": "other soft targets",
            "weights_digest": "other initial weights",
        }
        return " and ".join(word for key, word in words.items() if getattr(self, key) != getattr(other, key))


@dataclass(frozen=True)
class RowCounts:
    """Rows of the split, and of test.csv."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class MemberResult:
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
class EnsembleResult:
    """The blend that the submission is made of. figures: of the blends that were compared.

    accuracy_by_seed: of all folds, the mean of the members with one seed; empty where one fold is validated.
    labelled_copies, near_copies: the test images that have the label of their exact copies in train.csv, and those
    whose near copies there vote.
    """

    members: list[Name]
    valid_accuracy: float
    valid_f1: float
    method: str = "mean"
    figures: dict[Name, BlendFigures] = field(default_factory=dict)
    accuracy_by_seed: dict[Name, float] = field(default_factory=dict)
    labelled_copies: int = 0
    near_copies: int = 0

    @property
    def copies(self) -> str:
        """The setting `copies` as far as the submission shows it."""
        return "labelled+near" if self.near_copies else "labelled" if self.labelled_copies else "predicted"


@dataclass(frozen=True)
class BlendedMember:
    """A trained member of a blend. digest: of its probabilities; the texts are what its predictions file says."""

    name: Name
    digest: Sha256
    recipe: str = ""
    seed: str = ""
    fold: str = ""


@dataclass(frozen=True)
class BlendResult:
    """How finished members were blended, of several runs."""

    method: str
    members: list[BlendedMember]
    figures: dict[Name, BlendFigures] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Epochs that a member has finished, and those of its schedule."""

    epochs: int
    scheduled_epochs: int


@dataclass(frozen=True)
class MemberEstimate:
    """Epochs and seconds that were estimated for a member before training."""

    epochs: int
    seconds: float


@dataclass
class RunRecord:
    """run.json. failed, skipped: name → reason; files: name → SHA-256; ranks: the devices of several processes.

    blend: None for a run that trains.
    """

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
    blend: BlendResult | None = None
    files: dict[str, Sha256] = field(default_factory=dict)
    ranks: list[str] = field(default_factory=list)
    targets_digest: str = ""
    weights_digest: str = ""

    def __post_init__(self):
        decode(Name, self.recipe.get("name"), "recipe.name")
        decode(int, self.recipe.get("seed"), "recipe.seed")

    @property
    def identity(self) -> RunIdentity:
        """The digests that tell this run from another."""
        more = self.targets_digest, self.weights_digest
        return RunIdentity(self.config_hash, self.data_digest, self.code.digest, *more)

    @property
    def recipe_name(self) -> str:
        return self.recipe["name"]

    def differences(self, other: "RunRecord") -> str:
        """In words, in what another run differs from this one, with the settings; empty where it does not."""
        found, settings = self.identity.differences(other.identity), described_differences(self.recipe, other.recipe)
        return found.replace("other settings", f"other settings ({settings})") if settings else found


def read_record(path: Path, advice: str) -> RunRecord:
    """The record in a run.json; UserError, with `advice`, where it cannot be read, is no JSON, or is no such record."""
    return read_json(RunRecord, path, advice)


def read_json(kind: type, path: Path, advice: str) -> object:
    """The dataclass of that kind in a JSON file; UserError, with `advice`, where there is none."""
    text = read_bytes(path, MAX_BYTES, advice)
    try:
        return decode(kind, parse_json(text))
    except ValueError as error:
        raise UserError(f"{path}: not a {path.name} of this kit, or damaged ({error}); {advice}") from None


# ------------------------------------------------------------------------------------------ decoding


def decode(kind: object, value: object, where: str = "it") -> object:
    """A parsed JSON value as the declared `kind`; ValueError, which says where, for another type or range."""
    if isinstance(kind, types.UnionType):  # the only union here is `X | None`
        return None if value is None else decode(typing.get_args(kind)[0], value, where)
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    is_valid, expected = CHECKS[dict if dataclasses.is_dataclass(kind) else origin]
    if not is_valid(value):
        raise ValueError(f"{where} is no {expected}: {value!a:.40}")
    if dataclasses.is_dataclass(kind):
        return decode_fields(kind, value, where)
    if origin is dict and arguments:
        pairs = [(decode(arguments[0], key, f"a key of {where}"), key) for key in value]
        return {name: decode(arguments[1], value[key], f"{where}.{name}") for name, key in pairs}
    return [decode(arguments[0], item, where) for item in value] if origin is list else value


def decode_fields(kind: type, value: dict, where: str) -> object:
    """A JSON object as a dataclass. Fields without a default must be there."""
    kinds, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - value.keys()):
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    known = [f.name for f in fields if f.name in value]
    return kind(**{name: decode(kinds[name], value[name], f"{where}.{name}".removeprefix("it.")) for name in known})


def as_text(text: str) -> str:
    """A text as a record may hold it: one line of printable characters, cut where it is too long."""
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_TEXT]


def as_name(text: str) -> str:
    """A text as a name: other characters become hyphens, and it is cut where it is too long."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).lstrip("_.+-")[:100] or "member"


def is_number(value: object) -> bool:
    """A number of reasonable size, or NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) >= 1e12


CHECKS = {  # by type: whether a value is one, and what it is called
    str: (lambda v: isinstance(v, str) and len(v) <= MAX_TEXT and v.isprintable(), "short text"),
    int: (lambda v: is_number(v) and isinstance(v, int) and 0 <= v < 2**31, "count"),
    float: (is_number, "number"),
    bool: (lambda v: isinstance(v, bool), "boolean"),
    dict: (lambda v: isinstance(v, dict), "object"),
    list: (lambda v: isinstance(v, list), "list"),
    Name: (lambda v: isinstance(v, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", v), "name"),
    Sha256: (lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v), "SHA-256"),
}
