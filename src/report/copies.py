"""Finds exact copies of images, and near copies: the same photograph, moved, cropped or marked differently.

Near copies are found by a perceptual hash (Zauner 2010: the signs of the low frequencies of an image's cosine
transform) and confirmed by the correlation of the pixels.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

MAX_DISTANCE = 8  # of 64 bits
# FER2013 has 1,863 such pairs. Of 72 random ones with a correlation below 0.93, 71 were the same photograph to the eye.
MIN_CORRELATION = 0.9
FLAT_DEVIATION = 5.0  # of 255: FER2013 has 14 images below it, 13 of them of one gray value; the next one has 9.1
MAX_IMAGES = 100_000  # the time to compare all pairs grows with the square
MAX_PAIRS = 200_000  # whose pixels are compared; FER2013 has 4,920

_SIDE, _CHUNK, _PART = 8, 64, 4096


@dataclass(frozen=True)
class NearCopies:
    """Pairs of different images that show the same photograph, the most alike first.

    pairs: int64 (m, 2), numbers of images, the smaller first; correlation: float32 (m,), of the
    pixels. complete: whether all images were compared.
    """

    pairs: np.ndarray
    correlation: np.ndarray
    complete: bool = True


def representatives(groups: np.ndarray) -> np.ndarray:
    """The first row of each group, int64. groups: of `copy_groups`."""
    return np.unique(groups, return_index=True)[1]


def extra_copies(groups: np.ndarray) -> int:
    """The rows that copy an earlier one."""
    return len(groups) - len(np.unique(groups))


def conflicts(groups: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each group whose labels differ, in order of the first row."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted((rows for rows in parts if len(np.unique(labels[rows])) > 1), key=lambda rows: rows[0])


def flat_rows(images: np.ndarray) -> np.ndarray:
    """The rows of images that have almost one gray value. images: uint8 (n, 48, 48)."""
    return np.flatnonzero(images.reshape(len(images), -1).std(1) < FLAT_DEVIATION)


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """64 bits for each image, uint64 (n,): which of its 8 x 8 lowest frequencies are above their median.

    images: uint8 (n, side, side).
    """
    low = dct(np.eye(images.shape[-1], dtype=np.float32), axis=0, norm="ortho")[:_SIDE]
    frequencies = (low @ images.astype(np.float32) @ low.T).reshape(len(images), -1)
    above = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)  # the first is the brightness
    return np.packbits(above, axis=1).view(np.uint64).ravel()


def find_near_copies(images: np.ndarray) -> NearCopies:
    """The near copies among different images, uint8 (n, 48, 48).

    Flat images are left out, and so are images beyond MAX_IMAGES and what follows MAX_PAIRS pairs of similar hashes.
    """
    rows = np.setdiff1d(np.arange(min(len(images), MAX_IMAGES)), flat_rows(images))
    hashes, found, start = perceptual_hashes(images[rows]), [np.empty((0, 2), np.int64)], 0
    while start < len(hashes) and sum(map(len, found)) <= MAX_PAIRS:
        bits = np.bitwise_count(hashes[start : start + _CHUNK, None] ^ hashes[None, start:])
        one, two = np.nonzero(bits <= MAX_DISTANCE)
        found.append(np.stack([rows[one + start], rows[two + start]], 1)[one < two])
        start += _CHUNK
    all_found = np.concatenate(found)
    close = all_found[:MAX_PAIRS]
    correlation = _correlation(images, close)
    order = np.argsort(-correlation, kind="stable")
    order = order[correlation[order] >= MIN_CORRELATION]
    complete = len(images) <= MAX_IMAGES and start >= len(hashes) and len(close) == len(all_found)
    return NearCopies(close[order], correlation[order], complete)


def linked_rows(groups: np.ndarray, pairs: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of `rows` that have a near copy among `others`. pairs: (m, 2), numbers of groups."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    linked = both[np.isin(both[:, 1], groups[others]), 0]
    return rows[np.isin(groups[rows], linked)]


def _correlation(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Of the pixels of each pair, float32 (m,)."""
    flat, found = images.reshape(len(images), -1), [np.empty(0, np.float32)]
    for start in range(0, len(pairs), _PART):
        left, right = (flat[rows].astype(np.float32) for rows in pairs[start : start + _PART].T)
        left, right = left - left.mean(1, keepdims=True), right - right.mean(1, keepdims=True)
        found.append((left * right).sum(1) / np.sqrt((left**2).sum(1) * (right**2).sum(1)))
    return np.concatenate(found)
