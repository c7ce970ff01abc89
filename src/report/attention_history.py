"""How attention forms: a member's maps of eight fixed faces after some of its epochs, in attention_maps.npz.

The arrays are uint8 maps from the lowest value of each (0) to its highest (255); 30 kB an epoch and kind at most.
Limits: 16 MB of file and 64 MB of arrays.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.bounded_io import read_bytes, unzip
from src.dataset import NUM_CLASSES
from src.errors import UserError
from src.files import replacing

FILE_NAME = "attention_maps.npz"  # in a member's folder
FACES = 8
_FILE_LIMIT, _ARRAY_LIMIT = 16_000_000, 64_000_000  # bytes
_MAPS = "maps "  # before the kind, in the names of arrays


@dataclass(frozen=True)
class AttentionHistory:
    """images uint8 (f, h, w); labels int64 (f,); epochs int64 (e,); probs float32 (e, f, 7); maps: kind → uint8
    (e, f, h, w).
    """

    images: np.ndarray
    labels: np.ndarray
    epochs: np.ndarray
    probs: np.ndarray
    maps: dict[str, np.ndarray]


def fixed_faces(labels: np.ndarray) -> np.ndarray:
    """FACES rows, int64, fewer where there are fewer: the first of each class, then the second of each, and so on."""
    places = np.zeros(len(labels), np.int64)
    for label in range(NUM_CLASSES):
        rows = np.flatnonzero(labels == label)
        places[rows] = np.arange(len(rows))
    return np.lexsort((labels, places))[:FACES]


def with_epoch(old: AttentionHistory, new: AttentionHistory) -> AttentionHistory:
    """The epochs of `old` before those of `new`, then `new`; `new` alone where the faces or the kinds are others."""
    kept = old.epochs < new.epochs[0]
    if not np.array_equal(old.images, new.images) or old.maps.keys() != new.maps.keys():
        return new
    maps = {kind: np.concatenate([old.maps[kind][kept], found]) for kind, found in new.maps.items()}
    epochs, probs = (np.concatenate([getattr(old, key)[kept], getattr(new, key)]) for key in ("epochs", "probs"))
    return replace(new, epochs=epochs, probs=probs, maps=maps)


def save_attention(file: Path, history: AttentionHistory) -> None:
    """Writes the file under a temporary name first."""
    arrays = {key: getattr(history, key) for key in ("images", "labels", "epochs", "probs")}
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays, **{f"{_MAPS}{kind}": maps for kind, maps in history.maps.items()})


def load_attention(file: Path) -> AttentionHistory:
    """The content of the file; UserError where it is missing, damaged, or not as AttentionHistory says."""
    content = read_bytes(file, _FILE_LIMIT, "Train the member again.")
    try:
        files = unzip(content, lambda name: name.endswith(".npy"), _ARRAY_LIMIT)
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
            for name, data in files.items()
        }
        maps = {key.removeprefix(_MAPS): arrays.pop(key) for key in list(arrays) if key.startswith(_MAPS)}
        history = AttentionHistory(**arrays, maps=maps)
        _validate(history)
    except Exception as error:  # numpy and ast raise a dozen kinds for damaged bytes
        raise UserError(f"{file}: no maps of this kit, or damaged ({error})") from None
    return history


def _validate(history: AttentionHistory) -> None:
    """Raises ValueError for arrays of other types or shapes."""
    (faces, *size), epochs = history.images.shape, len(history.epochs)
    expected = {"labels": (faces,), "epochs": (epochs,), "probs": (epochs, faces, NUM_CLASSES)}
    fits = [getattr(history, key).shape == shape for key, shape in expected.items()]
    fits += [(one.shape, one.dtype) == ((epochs, faces, *size), np.uint8) for one in history.maps.values()]
    kinds = [history.images.dtype == np.uint8, history.labels.dtype == history.epochs.dtype == np.int64]
    in_range = ((history.labels >= 0) & (history.labels < NUM_CLASSES)).all()
    if not all((*fits, *kinds, in_range, len(size) == 2)):
        raise ValueError("its arrays do not belong together")
