"""Loads a weights file into a network: finds the table of tensors that fits, under any keys and prefixes.

The first layer's weights are summed over the three color channels, which keeps its response to gray images. The last
layer keeps its initial weights, since it has other classes; except from a file whose metadata has FER2013's.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from src.dataset import CLASS_NAMES
from src.errors import UserError
from src.models.weight_files import WeightsFile, read_weights

# Parts of names that wrappers put between a network's own: compiled, distributed, checkpointed layers.
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
AVERAGED = re.compile(
    r"(^|[^a-z])(ema|swa|avg|average[ds]?|averaging|mean|moving|shadow|smooth(ed)?|teacher|polyak)([^a-z]|$)"
)


@dataclass(frozen=True)
class Candidate:
    """Tensors that could be the network's. label: the keys and prefixes that lead to them, "" at the top level.

    missing_keys, wrong_keys: names that are not there, or have another shape. surplus: names of weights of layers
    that the network does not have.
    """

    label: str
    state: dict[str, Tensor]
    missing_keys: list[str]
    wrong_keys: list[str]
    surplus: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not self.missing_keys and not self.wrong_keys

    @property
    def is_averaged(self) -> bool:
        """Whether the name says that it is a moving average."""
        return bool(AVERAGED.search(re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.label).lower()))

    @property
    def name(self) -> str:
        return self.label or "the top level"

    def is_called(self, choice: str | None) -> bool:
        """Whether the label is the choice or begins with its keys; None: any."""
        return choice is None or self.label == choice or (choice != "" and self.label.startswith(f"{choice}."))


def load_weights(body: nn.Module, path: Path, choice: str | None = None) -> list[str]:
    """Loads the file's weights into the network, except the layers that keep their initial weights.

    choice: the key of the table to take, where the file has several. Returns lines for the log: which of several was
    taken, whether the last layer came along, and layers that the network does not have. Raises UserError for a damaged
    file, for another network's weights and for those of a training that diverged; the network is unchanged then.
    """
    file = read_weights(path)
    everything = {key: value for key, value in body.state_dict().items() if not key.endswith("num_batches_tracked")}
    body_only = {key: value for key, value in everything.items() if not keeps_initial_weights(body, key)}
    same_classes = file.metadata.get("classes") == json.dumps(CLASS_NAMES)
    wanted, fitting = everything, fitting_candidates(body, file, everything, choice) if same_classes else []
    if not fitting:
        wanted, fitting = body_only, fitting_candidates(body, file, body_only, choice)
    if not fitting:
        raise UserError(f"{path}: {why_not(body, file, body_only, choice)}")
    taken = {key: fitting[0].state[key] for key in wanted}
    if broken := next((key for key, value in taken.items() if not value.float().isfinite().all()), None):
        raise UserError(f"{path}: {broken} has values that are nan or infinite: the training that left it diverged")
    body.load_state_dict(taken, strict=False)
    notes = which_was_taken(path, fitting) if choice is None else []
    if len(wanted) > len(body_only):
        notes.insert(0, "trained on the same seven classes, so its last layer is loaded too")
    if extra := fitting[0].surplus:
        notes.append(f"of a larger network? {len(extra)} of its tensors are not used, as {extra[0]}")
    return [f"{path.name}: {note}" for note in notes]


def fitting_candidates(body: nn.Module, file: WeightsFile, wanted: dict, choice: str | None) -> list[Candidate]:
    """The candidates that fit, the one to take first: that of the chosen label, else an average of the weights."""
    fitting = [c for c in candidates(body, file, wanted) if c.fits and c.is_called(choice)]
    return sorted(fitting, key=lambda c: (c.label != choice, not c.is_averaged))


def keeps_initial_weights(body: nn.Module, key: str) -> bool:
    """Whether a tensor is not loaded: the last layer's, and layers that the published network does not have."""
    published = getattr(body, "pretrained_cfg", {})
    classifier, others = published.get("classifier") or (), published.get("not_pretrained", ())
    names = (*([classifier] if isinstance(classifier, str) else classifier), *others)
    return key.startswith(tuple(f"{name}." for name in names))


def candidates(body: nn.Module, file: WeightsFile, wanted: dict[str, Tensor]) -> list[Candidate]:
    """The tables of the file, with each prefix that is before half of the network's names, or else before the most.

    Where nothing fits, also without what wrappers put into the middle of names.
    """
    found = [c for label, table in file.tables.items() for c in by_prefix(body, label, table, wanted)]
    if raw := next((c for c in found if c.fits and not c.is_averaged), None):
        return [with_statistics_of(raw, c) if c.is_averaged else c for c in found]
    if any(c.fits for c in found):
        return found
    parts = {part for key in wanted for part in key.split(".")}
    wrapped = re.compile(rf"(?<![^.])({'|'.join(part for part in WRAPPERS if part not in parts) or '(?!)'})\.")
    stripped = {label: {wrapped.sub("", key): t for key, t in table.items()} for label, table in file.tables.items()}
    return [c for label, table in stripped.items() for c in by_prefix(body, label, table, wanted)]


def with_statistics_of(raw: Candidate, averaged: Candidate) -> Candidate:
    """An average of parameters alone, with the raw network's statistics of batch norm if only these are missing."""
    lacks_more = averaged.wrong_keys or not all(".running_" in f".{key}" for key in averaged.missing_keys)
    return averaged if lacks_more else replace(averaged, state=raw.state | averaged.state, missing_keys=[])


def by_prefix(body: nn.Module, label: str, table: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[Candidate]:
    """One table's candidates: one for each prefix that half of the names have, else the one that most have."""
    prefixes = Counter()
    for key in table:
        ends = [0, *(match.end() for match in re.finditer(r"\.", key))]
        prefixes.update(key[:end] for end in ends if key[end:] in wanted)
    frequent = [prefix for prefix, count in prefixes.items() if count >= len(wanted) / 2]
    frequent = frequent or [prefix for prefix, _ in prefixes.most_common(1)]
    return [candidate_of(body, label, table, wanted, prefix) for prefix in frequent]


def candidate_of(body: nn.Module, label: str, table: dict, wanted: dict[str, Tensor], prefix: str) -> Candidate:
    """The tensors of a table whose names are the network's after this prefix."""
    names = list(body.state_dict())
    state = {key: table[prefix + key] for key in names if prefix + key in table}
    adapt(body, state)
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and not is_alike(state[key], wanted[key])]
    surplus = surplus_weights(table, prefix, names, wanted)
    return Candidate(f"{label}.{prefix}".strip("."), state, missing, wrong, surplus)


def is_alike(given: Tensor, wanted: Tensor) -> bool:
    """Whether both have the same shape, and both or neither have floating-point numbers."""
    return given.shape == wanted.shape and given.is_floating_point() == wanted.is_floating_point()


def surplus_weights(table: dict[str, Tensor], prefix: str, names: list[str], wanted: Iterable[str]) -> list[str]:
    """The table's weights of layers that the network lacks, in parts that it has: a deeper network has some.

    names: all of the network's own; wanted: those that are loaded.
    """
    known, tops = {prefix + name for name in names}, tuple({f"{prefix}{name.split('.')[0]}." for name in wanted})
    others = (key for key in table if key not in known and key.startswith(tops))
    return [key for key in others if key.endswith((".weight", ".bias"))]


def why_not(body: nn.Module, file: WeightsFile, wanted: dict[str, Tensor], choice: str | None) -> str:
    """Why no candidate is loaded: the best one's first difference."""
    found = candidates(body, file, wanted)
    chosen = [c for c in found if c.is_called(choice)]
    if found and not chosen:
        return f"no such weights there; there are {', '.join(c.name for c in found)}"
    if not found and file.is_optimizer:
        return "holds the state of an optimizer, without a network's weights"
    architecture = getattr(body, "pretrained_cfg", {}).get("architecture")
    than = f" than {architecture}" if architecture else ""
    best = min(
        chosen, key=lambda c: len(c.missing_keys) + len(c.wrong_keys), default=Candidate("", {}, list(wanted), [])
    )
    key = (best.missing_keys or best.wrong_keys)[0]
    given = best.state.get(key)
    shapes = f"no {key}" if given is None else f"{key} is {[*given.shape]}, not {[*wanted[key].shape]}"
    return (
        f"weights of another network{than} ({len(best.missing_keys)} of {len(wanted)} tensors missing, "
        f"{len(best.wrong_keys)} of another shape: {shapes})"
    )


def which_was_taken(path: Path, fitting: list[Candidate]) -> list[str]:
    """Which of several tables was taken, and how to choose another; nothing to say of the only one."""
    first, *others = fitting
    if not others:
        return []
    kind = "the averaged weights" if first.is_averaged and not others[0].is_averaged else "the first weights that fit"
    ways = " or ".join(f"pretrained={path}#{other.label}" for other in others[:3])
    return [f"{kind} ({first.name}) are taken; to take {', '.join(o.name for o in others[:3])}, set {ways}"]


def adapt(body: nn.Module, state: dict[str, Tensor]) -> None:
    """Changes the weights for one input channel instead of three, and for the body's image size."""
    if not hasattr(body, "pretrained_cfg"):
        return  # the kit's own networks need no timm, whose import takes seconds
    from timm.layers import resample_abs_pos_embed
    from timm.models import adapt_input_conv

    firsts = body.pretrained_cfg.get("first_conv")
    for first in [firsts] if isinstance(firsts, str) else firsts or ():
        key = f"{first}.weight"
        if key in state and state[key].ndim == 4 and state[key].shape[1] == 3:
            state[key] = adapt_input_conv(1, state[key])
    expected, given = getattr(body, "pos_embed", None), state.get("pos_embed")
    if expected is not None and given is not None and given.shape != expected.shape:
        # What cannot be resampled keeps its shape, and does not fit then.
        with contextlib.suppress(RuntimeError, IndexError, AttributeError):
            prefix = getattr(body, "num_prefix_tokens", 0)
            state["pos_embed"] = resample_abs_pos_embed(given, body.patch_embed.grid_size, num_prefix_tokens=prefix)
