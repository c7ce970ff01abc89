"""Sections of a run's report with faces: the most confident errors, the least sure rights, likely label errors."""

import numpy as np
from sklearn.metrics import confusion_matrix

from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.ensemble.predictions import Predictions
from src.report.faces import Face, FaceGrid
from src.report.numbers import counted, percent
from src.report.page import Notice, Table
from src.report.run_files import RunFiles, dict_of

FACES = 16  # in a grid
_CLASSES = 3  # probabilities below a face


def shown_predictions(run: RunFiles) -> tuple[str, Predictions] | None:
    """What the faces are of: the blend, or the only member; None where there are no labels or no rows."""
    if not run.scored:
        return None
    return next(((name, one) for name, one in run.scored.items() if one is run.blended), next(iter(run.scored.items())))


def errors_blocks(run: RunFiles) -> list:
    """The most confident errors and the least sure rights."""
    if not (shown := shown_predictions(run)):
        return []
    name, one = shown
    labels = run.labels(one)
    text = (
        f"Validation faces with the probabilities of {name}. A dashed frame is an error, a solid one is right; the "
        "first line is the label, then the most probable classes. Row 1 is the first of the training file."
    )
    grids = [
        FaceGrid(
            "confident-errors", select_faces(run, one, confident_errors(one, labels)), title="The most confident errors"
        ),
        FaceGrid("unsure-rights", select_faces(run, one, unsure_rights(one, labels)), title="The least sure rights"),
    ]
    return [text, *(grid for grid in grids if grid.faces)]


def confident_errors(predictions: Predictions, labels: np.ndarray) -> np.ndarray:
    """Positions of the wrong rows among the validation rows, the most confident first, int64."""
    return _sorted(-predictions.valid.max(1), predictions.valid.argmax(1) != labels)


def unsure_rights(predictions: Predictions, labels: np.ndarray) -> np.ndarray:
    """Positions of the right rows among the validation rows, the least confident first, int64."""
    return _sorted(predictions.valid.max(1), predictions.valid.argmax(1) == labels)


def _sorted(order: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    positions = np.flatnonzero(chosen)
    return positions[np.argsort(order[positions], kind="stable")]


def select_faces(run: RunFiles, predictions: Predictions, positions: np.ndarray, ask: bool = False) -> list[Face]:
    """The first faces at these positions among the validation rows, with label and probabilities; no image twice.

    ask: the label is in doubt, so there is no frame.
    """
    found = []
    for position in _without_copies(run, predictions.valid_rows, positions):
        row, probs = predictions.valid_rows[position], predictions.valid[position]
        label, best = run.data.train.labels[row], np.argsort(-probs, kind="stable")[:_CLASSES]
        lines = [f"{CLASS_NAMES[label]}?" if ask else CLASS_NAMES[label]]
        lines += [f"{CLASS_NAMES[one]} {100 * probs[one]:.0f} %" for one in best]
        mark = "" if ask else ("right" if label == best[0] else "wrong")
        found.append(Face(run.data.train.images[row], (*lines, f"row {row + 1:,}"), mark))
    return found


def _without_copies(run: RunFiles, rows: np.ndarray, positions: np.ndarray) -> list[int]:
    """The first positions, as many as there are FACES, without those whose image is that of an earlier one."""
    first: dict[bytes, int] = {}
    for position in positions:
        first.setdefault(run.data.train.images[rows[position]].tobytes(), position)
        if len(first) == FACES:
            break
    return list(first.values())


# ------------------------------------------------------------------------------------------- label errors


def label_errors_blocks(run: RunFiles) -> list:
    """Rows whose label is probably wrong, by class and as faces."""
    if not (shown := shown_predictions(run)):
        return []
    if dict_of(run.record, "recipe").get("valid") == "train":
        return [Notice("Not shown: the networks have trained on the validation rows, so they know these labels.")]
    name, one = shown
    labels = run.labels(one)
    likely, right = likely_labels(one.valid, labels), (one.valid.argmax(1) == labels).mean()
    count = int((likely != labels).sum())
    text = (
        f"{counted(count, 'row')} of {len(labels):,} validation rows ({percent(count / len(labels))}) by the "
        f"probabilities of {name}, which has not trained on them and is right on {percent(right)}. The lower this is, "
        "the more of them are errors of the network; of others people disagree. Look at a face before you change its "
        "label."
    )
    pairs = confusion_matrix(labels, likely, labels=range(NUM_CLASSES)) * (1 - np.eye(NUM_CLASSES, dtype=int))
    rows = [(label, *map(int, counts), int(counts.sum())) for label, counts in zip(CLASS_NAMES, pairs, strict=True)]
    table = Table(("label", *CLASS_NAMES, "all"), rows, "Likely label errors by label (row) and likely class (column).")
    positions = _sorted(one.valid[np.arange(len(labels)), labels], likely != labels)
    title = "The rows whose label is the least probable"
    grid = FaceGrid("label-errors", select_faces(run, one, positions, ask=True), title=title)
    return [text, table, *([grid] if grid.faces else [])]


def likely_labels(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The likely class of each row by confident learning, int64 (n,); the label itself where no other one is likely.

    The threshold of a class is its mean probability on rows with its label. A row is counted for the most probable
    class that reaches its threshold (Northcutt et al. 2021, arXiv 1911.00068). probs: float (n, 7); labels: (n,).
    """
    thresholds = np.full(NUM_CLASSES, np.inf)
    for label in np.unique(labels):
        thresholds[label] = probs[labels == label, label].mean()
    reached = np.where(probs >= thresholds, probs, -1.0)
    return np.where(reached.max(1) >= 0, reached.argmax(1), labels)
