"""Sections of a run's report that show where its networks look: on right and wrong faces, and epoch by epoch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from src.dataset import CLASS_NAMES
from src.ensemble.predictions import Predictions
from src.errors import UserError
from src.models.trained import load_trained, member_of_training
from src.report.attention import coloured, maps_of, meanings, scaled
from src.report.attention_history import FILE_NAME, AttentionHistory, load_attention
from src.report.faces import Face
from src.report.page import Notice, Table, Terms
from src.report.run_files import RunFiles, dict_of

RIGHT, WRONG = 4, 4  # faces
MEMBERS = 8  # that are shown side by side
EPOCHS, TABLES = 6, 8  # of the recorded maps: with more the page would have many megabytes

_LEGEND = (
    "Bright yellow is a high value, dark violet a low one; each map is scaled by itself. A solid frame: the network is "
    "right; a dashed frame: it is wrong. The maps show what a network uses, not why, and not whether it should."
)


def attention_blocks(run: RunFiles) -> list:
    """The same faces under the maps of each member, side by side."""
    shown = shown_members(run)
    if not shown:
        return []
    rows = shown_rows(run, next(iter(shown.values())))
    images = run.data.train.images[rows]
    columns, faults = [("face", [_stored(run, row) for row in rows])], []
    for name, predictions in shown.items():
        try:
            columns += member_columns(run, name, predictions, rows, images)
        except (UserError, RuntimeError, ValueError) as error:
            faults.append(Notice(f"{name} is not shown: {(str(error).splitlines() or ['?'])[0]}."))
    if len(columns) == 1:
        return faults
    kinds = [heading.split("\n", 1)[1] for heading, _ in columns[1:]]
    headings, cells = [heading for heading, _ in columns], [faces for _, faces in columns]
    table = Table(headings, list(zip(*cells, strict=True)))
    left = sum(run.weights_file(name) is not None for name in run.predictions) - len(shown)
    more = [f"Members that are not shown: {left}."] if left else []
    return [Terms(meanings(kinds)), _LEGEND, table, *more, *faults]


def shown_members(run: RunFiles) -> dict[str, Predictions]:
    """The first members whose weights are there and that have predicted the validation rows of the first one."""
    found: dict[str, Predictions] = {}
    for name, predictions in run.predictions.items():
        rows = next(iter(found.values()), predictions).valid_rows
        if run.data and len(rows) and run.weights_file(name) and np.array_equal(predictions.valid_rows, rows):
            found[name] = predictions
    return dict(list(found.items())[:MEMBERS])


def shown_rows(run: RunFiles, predictions: Predictions) -> np.ndarray:
    """Rows of confident errors and confident rights of different classes, int64, as the first shown member has them."""
    labels = run.labels(predictions)
    is_right, order = predictions.valid.argmax(1) == labels, np.argsort(-predictions.valid.max(1), kind="stable")
    chosen = []
    for wanted, count in ((True, RIGHT), (False, WRONG)):
        positions = [position for position in order if is_right[position] == wanted]
        first = {labels[position]: position for position in reversed(positions)}  # of each class the most confident
        chosen += sorted(first.values(), key=positions.index)[:count]
    return predictions.valid_rows[chosen]


def member_columns(
    run: RunFiles, name: str, predictions: Predictions, rows: np.ndarray, images: np.ndarray
) -> list[tuple[str, list[Face]]]:
    """Heading and faces for each kind of map that the member has."""
    net = load_trained(member_of_training(dict_of(run.record, "recipe"), name), run.weights_file(name))
    probs = predictions.valid[np.searchsorted(predictions.valid_rows, rows)]
    labels = run.data.train.labels[rows]
    found = maps_of(net, torch.from_numpy(images).unsqueeze(1), probs.argmax(1))
    return [(f"{name}\n{kind}", list(_faces(images, labels, probs, maps))) for kind, maps in found.items()]


def _faces(images: np.ndarray, labels: np.ndarray, probs: np.ndarray, maps: np.ndarray) -> Iterator[Face]:
    """Each face under its map, with the predicted class. probs: float (n, 7); maps: float or uint8 (n, h, w)."""
    for image, label, prob, found in zip(images, labels, probs, maps, strict=True):
        best = int(prob.argmax())
        shade = found if found.dtype == np.uint8 else scaled(found)
        line = f"{CLASS_NAMES[best]} {100 * prob[best]:.0f} %"
        yield Face(coloured(image, shade), (line,), "right" if best == label else "wrong")


def _stored(run: RunFiles, row: int) -> Face:
    return Face(run.data.train.images[row], (CLASS_NAMES[run.data.train.labels[row]], f"row {row + 1:,}"))


# ------------------------------------------------------------------------------------- epoch by epoch


def attention_history_blocks(run: RunFiles) -> list:
    """The maps of eight faces after some epochs, for each member that was trained with `attention_maps_every`."""
    files = {file.parent.name: file for file in sorted(run.folder.glob(f"members/*/{FILE_NAME}"))}
    names = [name for name in (*run.members, *files) if name in files]  # in the recipe's order
    blocks = [block for name in dict.fromkeys(names) for block in history_blocks(files[name])]
    text = "The same faces after some of the epochs, by the network as it was then; the first row has the labels. "
    more = [f"Tables that are not shown: {len(blocks) - TABLES}."] if len(blocks) > TABLES else []
    return [text + _LEGEND, *blocks[:TABLES], *more] if blocks else []


def history_blocks(file: Path) -> list:
    """A table for each kind of map of one member, a row for an epoch."""
    try:
        history = load_attention(file)
    except UserError as error:
        return [Notice(f"{(str(error).splitlines() or ['?'])[0]}.")]
    return [_history_table(file.parent.name, kind, history) for kind in history.maps]


def _history_table(name: str, kind: str, history: AttentionHistory) -> Table:
    stored = [Face(image, (CLASS_NAMES[label],)) for image, label in zip(history.images, history.labels, strict=True)]
    rows = [("stored", *stored)]
    count = len(history.epochs)
    for number in np.unique(np.linspace(0, count - 1, min(count, EPOCHS)).round().astype(int)):
        faces = _faces(history.images, history.labels, history.probs[number], history.maps[kind][number])
        rows.append((f"epoch {history.epochs[number]}", *faces))
    caption = f"{name}: {kind}." + (f" {EPOCHS} of {count} recorded epochs." if count > EPOCHS else "")
    return Table(("", *(f"face {number + 1}" for number in range(len(stored)))), rows, caption)
