"""Synthetic faces: 48x48 drawings whose expression is in brows, eyes and mouth, in the competition's own files.

They replace FER2013 in the tests and in the command `quick`. The classes have FER2013's imbalance and some images are
exact copies, because both matter for the split and the score. An accuracy on these faces says nothing about real ones.

A drawing is a stack of signed distance fields in the face's coordinates: the origin is between the cheeks, the chin is
one unit below it, x points right, y down. Pixels are computed by + - * /, square roots, comparisons and uniform random
numbers alone. These are exact under IEEE 754; sin, exp and normal deviates would differ in the last bit between CPUs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.dataset import CLASS_NAMES, IMAGE_SIZE, NUM_CLASSES
from src.files import replacing

TRAINING_COUNTS = (3995, 436, 4097, 7215, 4830, 3171, 4965)  # FER2013's Training rows, Angry to Neutral
CLASS_FLOOR = 4  # with fewer faces a class would be missing from some fold
TEST_COPIES = 0.01  # FER2013: 26 of 3,589 public and 17 of 3,589 private rows copy another one
LEAKED = 0.08  # FER2013: 8 % of the test images are also in Training
CHUNK = 16  # images at a time: the working set of one stays in the processor's cache

Fields = dict[str, np.ndarray]
Seed = int | Sequence[int]

# The value of a neutral face, the range ± in which faces of one expression differ, and what each expression at full
# strength adds: Angry, Disgust, Fear, Happy, Sad, Surprise, Neutral. Lengths are in face units; the other values are
# fractions from 0 to 1. `brow_tilt` lifts the inner ends of the brows, `smile` the corners of the mouth; `gap_up` and
# `gap_down` open the mouth; `square` flattens the opening.
EXPRESSION = {
    "brow_lift": (0, 0.035, (-0.09, -0.07, 0.09, 0.02, 0, 0.17, 0)),
    "brow_tilt": (0, 0.035, (-0.17, -0.05, 0.15, 0, 0.19, 0, 0)),
    "brow_arch": (0.05, 0.02, (-0.02, 0, -0.03, 0, -0.04, 0.07, 0)),
    "eye_open": (0.105, 0.018, (-0.02, -0.06, 0.07, -0.03, -0.03, 0.07, 0)),
    "lid_slant": (0, 0.015, (-0.04, 0, 0.02, 0, 0.06, 0, 0)),
    "mouth_lift": (0, 0.03, (0, 0.07, 0, 0, -0.02, -0.04, 0)),
    "mouth_width": (0.27, 0.035, (-0.04, 0.02, 0.05, 0.11, -0.02, -0.09, 0)),
    "smile": (0, 0.025, (-0.04, -0.08, -0.05, 0.17, -0.13, 0, 0)),
    "gap_up": (0, 0, (0, 0.12, 0.05, 0.02, 0, 0.15, 0)),
    "gap_down": (0, 0, (0, 0.04, 0.11, 0.2, 0, 0.19, 0)),
    "square": (0, 0, (0, 0.9, 0.9, 0, 0, 1.2, 0)),
    "teeth": (0, 0, (0, 1.0, 0.6, 1.0, 0, 0, 0)),
    "lip": (0.055, 0.012, (-0.03, 0, 0, -0.01, 0.01, 0, 0)),
    "furrow": (0, 0, (1.0, 0, 0, 0, 0, 0, 0)),
    "wrinkle": (0, 0, (0, 1.0, 0, 0, 0, 0, 0)),
    "fold": (0, 0, (0, 0.9, 0, 0.45, 0, 0, 0)),
    "cheek": (0, 0, (0, 0.5, 0, 1.0, 0, 0, 0)),
}

# Person and camera, from and to. Tones are 0 to 1, `centre` and `focus` are in pixels, `tilt` is the tangent of half
# the angle.
PERSON = {
    "centre_x": (21.5, 25.5), "centre_y": (22.5, 26.0), "scale": (19.5, 23.5), "tilt": (-0.1, 0.1), "focus": (1.0, 1.7),
    "turn": (-0.1, 0.1), "nod": (-0.05, 0.05), "width": (0.72, 0.86), "jaw": (0.0, 0.3),
    "skin": (0.42, 0.85), "hair": (0.04, 0.42), "back": (0.05, 0.95), "iris": (0.05, 0.25),
    "hairline": (-0.82, -0.62), "parting": (-0.2, 0.2), "hair_low": (-0.3, 1.1), "brow_thick": (0.032, 0.06),
    "eye_apart": (0.31, 0.37), "nose_low": (0.13, 0.22), "light_x": (-0.3, 0.3), "light_y": (-0.15, 0.15),
    "bright": (-0.1, 0.1), "contrast": (0.7, 1.1), "noise": (0.005, 0.05), "open": (0.75, 1.1), "strength": (0.6, 1.1),
}  # fmt: skip


def draw_faces(labels: np.ndarray, seed: Seed) -> np.ndarray:
    """One face for each label: int (n,) in 0..6 -> uint8 (n, 48, 48), 0 black; the same bytes on every machine."""
    rng = np.random.default_rng(seed)
    fields = _fields(labels, rng)
    chunks = [slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK)]
    return np.concatenate([_photograph({name: f[rows] for name, f in fields.items()}, rng) for rows in chunks])


def make_faces(n: int, seed: Seed, copies: float = 0.04) -> tuple[np.ndarray, np.ndarray]:
    """`n` shuffled faces in FER2013's imbalance: images uint8 (n, 48, 48) and labels int64 (n,), 0 Angry to 6 Neutral.

    `copies` is the fraction of rows that copy another row, label included. With 28 different faces or more, every class
    has at least 4.
    """
    rng = np.random.default_rng(seed)
    extra = round(n * copies)
    labels = np.repeat(np.arange(NUM_CLASSES), class_counts(n - extra))
    images = draw_faces(labels, rng.integers(2**32, size=4).tolist())
    order = rng.permutation(np.concatenate([np.arange(n - extra), rng.integers(n - extra, size=extra)]))
    return images[order], labels[order]


def class_counts(n: int) -> np.ndarray:
    """The number of each class among `n` faces, int64 (7,): FER2013's fractions, with a minimum for the rare class."""
    wanted = np.array(TRAINING_COUNTS) * n / sum(TRAINING_COUNTS)
    counts = np.maximum(np.floor(wanted).astype(np.int64), min(CLASS_FLOOR, n // NUM_CLASSES))
    while counts.sum() < n:
        counts[np.argmax(wanted - counts)] += 1
    while counts.sum() > n:  # the minimum took too many: the largest class has fewer
        counts[np.argmax(counts)] -= 1
    return counts


def _fields(labels: np.ndarray, rng: np.random.Generator) -> Fields:
    """The parameters of each drawing, float32 (n, 1, 1) each to broadcast over the (48, 48) grid."""
    fields = {name: low + (high - low) * rng.random(len(labels)) for name, (low, high) in PERSON.items()}
    for name, (neutral, spread, changes) in EXPRESSION.items():
        jitter = spread * (2 * rng.random(len(labels)) - 1)
        fields[name] = neutral + np.array(changes)[labels] * fields["strength"] + jitter
    happy = labels == CLASS_NAMES.index("Happy")
    fields["open"][happy] = 1.1 * rng.random(happy.sum())  # people smile with the mouth closed too
    for name in ("gap_up", "gap_down"):
        fields[name] = np.maximum(fields[name] * fields["open"], 0)
    fields["back"] = np.where(rng.random(len(labels)) < 0.5, fields["back"] * 0.4, fields["back"])  # most are dark
    return {name: values.astype(np.float32)[:, None, None] for name, values in fields.items()}


def _photograph(f: Fields, rng: np.random.Generator) -> np.ndarray:
    """Draws one chunk with light, contrast and noise: uint8 (n, 48, 48)."""
    pixel = np.arange(IMAGE_SIZE, dtype=np.float32)
    across, down = pixel[None, None, :] - f["centre_x"], pixel[None, :, None] - f["centre_y"]
    half = f["tilt"]  # cosine and sine from the tangent of the half angle: exact everywhere, unlike np.cos
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    x, y = (cosine * across + sine * down) / f["scale"], (cosine * down - sine * across) / f["scale"]
    canvas = f["back"] * (1 + 0.15 * y)
    _head(f, x, y, canvas)
    right, low = x - f["turn"], y - f["nod"]
    side = np.abs(right) - f["eye_apart"]  # both eyes at once: 0 at the pupil, negative towards the nose
    _cheeks(f, np.abs(right), low, canvas)
    _eyes(f, side, low + 0.18, canvas)
    _brows(f, side, low + 0.42, canvas)
    _nose(f, right, low, canvas)
    _mouth(f, right, low - 0.52 + f["mouth_lift"], canvas)
    canvas *= 1 + f["light_x"] * x + f["light_y"] * y
    canvas = 0.5 + (canvas - 0.5) * f["contrast"] + f["bright"]
    # The sum of three uniform numbers is almost normal, with deviation one half.
    uniform = rng.random((len(canvas), 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    canvas += (uniform[:, 0] + uniform[:, 1] + uniform[:, 2] - 1.5) * (2 * f["noise"])
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)


# numpy makes a float64 of two Python numbers, and of every field combined with it: therefore the dtype arguments below.


def _cover(f: Fields, distance: np.ndarray) -> np.ndarray:
    """The fraction of each pixel that is inside: 1 inside, 0 outside, a ramp of the width of `focus` between."""
    return np.clip(0.5 - distance * (f["scale"] / f["focus"]), 0, 1)


def _paint(canvas: np.ndarray, cover: np.ndarray, tone: np.ndarray | float) -> None:
    canvas += cover * (tone - canvas)


def _ellipse(x: np.ndarray, y: np.ndarray, wide: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """About the distance to an ellipse's edge, negative inside; exact for a circle."""
    return (np.sqrt((x / wide) ** 2 + (y / high) ** 2) - 1) * np.minimum(wide, high, dtype=np.float32)


def _stroke(x: np.ndarray, off: np.ndarray, slope: np.ndarray | float, reach: np.ndarray | float, thick) -> np.ndarray:
    """Distance to a line y = g(x) of |x| <= reach, drawn `thick` to each side; `off` is y - g(x), `slope` g'(x)."""
    return np.maximum(np.abs(off) / np.sqrt(1 + slope * slope, dtype=np.float32) - thick, np.abs(x) - reach)


def _head(f: Fields, x: np.ndarray, y: np.ndarray, canvas: np.ndarray) -> None:
    """Hair, neck, ears and the shaded face without features."""
    width, wing = f["width"], np.abs(x)
    _paint(canvas, _cover(f, np.maximum(_ellipse(x, y + 0.12, width + 0.14, 1.08), y - f["hair_low"])), f["hair"])
    _paint(canvas, _cover(f, np.maximum(wing - 0.42, 0.6 - y)), f["skin"] * 0.62)
    _paint(canvas, _cover(f, _ellipse(wing - width, y - 0.02, 0.1, 0.2)), f["skin"] * 0.8)
    jaw = x * (1 + f["jaw"] * np.maximum(y, 0) ** 2)  # a chin narrower than the brow
    outline = _ellipse(jaw, y, width, 1.0)
    round_off = (x / width) ** 2 + 0.6 * y * y
    _paint(canvas, _cover(f, outline), f["skin"] * (1.05 - 0.22 * round_off))
    fringe = np.maximum(outline - 0.04, y - f["hairline"] - 0.35 * (x - f["parting"]) ** 2)
    _paint(canvas, _cover(f, fringe), f["hair"])


def _eyes(f: Fields, side: np.ndarray, y: np.ndarray, canvas: np.ndarray) -> None:
    opening = f["eye_open"]
    y = y - f["lid_slant"] * side * 4
    _paint(canvas, 0.35 * _cover(f, _ellipse(side, y, 0.24, opening + 0.1)), f["skin"] * 0.55)  # the socket's shade
    almond = opening * (1 - (side / 0.17) ** 2)
    inside = np.maximum(np.abs(y) - almond, np.abs(side) - 0.17)
    white = _cover(f, inside)
    _paint(canvas, white, 0.45 + 0.5 * f["skin"])
    _paint(canvas, white * _cover(f, _ellipse(side, y, 0.085, 0.085)), f["iris"])
    lid = _stroke(side, y + almond, -2 * opening * side / 0.17**2, 0.18, 0.022)
    _paint(canvas, 0.85 * _cover(f, lid), f["skin"] * 0.2)
    _paint(canvas, 0.4 * _cover(f, _stroke(side, y - almond, 0.0, 0.15, 0.015)), f["skin"] * 0.4)


def _brows(f: Fields, side: np.ndarray, y: np.ndarray, canvas: np.ndarray) -> None:
    along = side / 0.23
    line = f["brow_tilt"] * (along + 0.25) * 0.6 + f["brow_arch"] * along * along - f["brow_lift"] - f["brow_arch"]
    slope = (0.6 * f["brow_tilt"] + 2 * f["brow_arch"] * along) / 0.23
    thick = f["brow_thick"] * (1 - 0.35 * along)  # thinner at the temple
    brow = _stroke(side, y - line, slope, 0.23, np.maximum(thick, 0.02))
    _paint(canvas, 0.9 * _cover(f, brow), np.minimum(f["hair"] * 0.7, f["skin"] * 0.45))
    furrow = np.maximum(np.abs(side + f["eye_apart"] - 0.055) - 0.018, np.abs(y - 0.04) - 0.1)
    _paint(canvas, 0.6 * np.clip(f["furrow"], 0, 1) * _cover(f, furrow), f["skin"] * 0.35)


def _nose(f: Fields, x: np.ndarray, y: np.ndarray, canvas: np.ndarray) -> None:
    tip = y - f["nose_low"] + 0.05 * f["wrinkle"]  # a wrinkled nose is drawn up
    wing = np.abs(x)
    bridge = np.maximum(np.abs(wing - 0.075 - 0.1 * np.maximum(tip + 0.25, 0)) - 0.02, np.abs(tip + 0.22) - 0.2)
    _paint(canvas, 0.25 * _cover(f, bridge), f["skin"] * 0.5)
    _paint(canvas, 0.4 * _cover(f, _ellipse(x, tip + 0.05, 0.05, 0.09)), np.minimum(f["skin"] * 1.25, 1.0))
    _paint(canvas, 0.75 * _cover(f, _ellipse(wing - 0.085, tip - 0.05, 0.05, 0.03)), f["skin"] * 0.3)
    for level in (-0.04, -0.13):  # the wrinkles across the bridge, bent like two chevrons
        crease = _stroke(x, y - level - 0.6 * wing, 0.6, 0.16, 0.018)
        _paint(canvas, 0.75 * np.clip(f["wrinkle"], 0, 1) * _cover(f, crease), f["skin"] * 0.4)


def _cheeks(f: Fields, wing: np.ndarray, y: np.ndarray, canvas: np.ndarray) -> None:
    """The folds from the nose to the corners of the mouth, and the cheeks that a smile pushes up."""
    lift = 0.35 * _cover(f, _ellipse(wing - 0.42, y - 0.16, 0.2, 0.12))
    _paint(canvas, lift * np.clip(f["cheek"], 0, 1), np.minimum(f["skin"] * 1.2, 1.0))
    down = y - 0.32
    fold = _stroke(down, wing - 0.27 - 0.55 * down, 0.55, 0.17, 0.018)
    _paint(canvas, 0.6 * np.clip(f["fold"], 0, 1) * _cover(f, fold), f["skin"] * 0.5)


def _mouth(f: Fields, x: np.ndarray, y: np.ndarray, canvas: np.ndarray) -> None:
    """Two lips about a bent line, parted by a dark opening with the upper teeth at its top."""
    part = (x / f["mouth_width"]) ** 2
    bulge = np.maximum(1 - part * (1 - f["square"] * (1 - part)), 0)  # 1 in the middle, 0 at the corners
    off = y + f["smile"] * (np.minimum(part, 1.5) - 0.5)
    steep = np.sqrt(1 + (2 * f["smile"] * x / f["mouth_width"] ** 2) ** 2)
    top, bottom = -f["gap_up"] * bulge, f["gap_down"] * bulge
    ends = np.abs(x) - f["mouth_width"]
    lips = np.maximum(top - f["lip"] * 0.8 * bulge - off, off - bottom - f["lip"] * 1.15 * bulge) / steep
    _paint(canvas, 0.8 * _cover(f, np.maximum(lips, ends)), f["skin"] * 0.6)
    gap = np.maximum(np.maximum(top - off, off - bottom) / steep - 0.018, ends)  # a closed mouth is a dark line
    dark = _cover(f, gap)
    _paint(canvas, dark, f["skin"] * 0.16)
    height = bottom - top
    teeth = np.maximum(off - top - height * 0.6, ends + 0.04) - 0.01
    _paint(canvas, dark * _cover(f, teeth) * np.clip(f["teeth"] * height * 14, 0, 1), 0.55 + 0.45 * f["skin"])


def write_files(folder: Path, train: int = 1500, test: int = 400, seed: int = 0) -> None:
    """Writes synthetic faces as the competition's CSV files into `folder`, which is made if it does not exist.

    The files are train.csv, test.csv, icml_face_data.csv with the test labels, so that a submission can be scored, and
    example_submission.csv. The first half of the test rows is the public one, and 8 % of them are also in train.
    """
    images, labels = make_faces(train, [seed, 0])
    test_images, test_labels = make_faces(test, [seed, 1], TEST_COPIES)
    rng = np.random.default_rng([seed, 2])
    for row in rng.permutation(test)[: max(1, round(LEAKED * test))]:
        alike = np.flatnonzero(labels == test_labels[row])
        if len(alike):
            test_images[row] = images[rng.choice(alike)]
    usages = ["Training"] * train + ["PublicTest"] * (test // 2) + ["PrivateTest"] * (test - test // 2)
    texts = [" ".join(map(str, image.ravel().tolist())) for image in np.concatenate([images, test_images])]
    rows = list(zip(np.concatenate([labels, test_labels]).tolist(), usages, texts, strict=True))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, header, lines in (
        ("train.csv", "emotion,pixels", (f"{label},{text}" for label, _, text in rows[:train])),
        ("test.csv", "pixels", texts[train:]),
        ("icml_face_data.csv", "emotion, Usage, pixels", (",".join(map(str, row)) for row in rows)),
        ("example_submission.csv", "id,emotion", (f"{row},0" for row in range(test))),
    ):
        with replacing(folder / name) as temporary:
            temporary.write_text("\n".join([header, *lines, ""]), "ascii", newline="\n")
