"""Sections of `explore`: the files, the classes with samples and mean faces, and the pixels."""

import numpy as np

from src.dataset import CLASS_NAMES
from src.report.copies import extra_copies, flat_rows
from src.report.explored import Explored
from src.report.faces import Face, FaceGrid
from src.report.figures import BLUE, COLOURS, Figure, bars, draw
from src.report.numbers import percent, ratio
from src.report.page import Section, Table

SAMPLES = 8  # faces of each class


def files_section(found: Explored) -> Section:
    """What was read, by file."""
    data, rows = found.data, []
    for name, part, groups in zip(
        found.names, (data.train, data.test), (found.train_groups, found.test_groups), strict=True
    ):
        missing = "not read" if part.labels is None else "0"
        pixels, flat = mean_and_deviation(part.images), len(flat_rows(part.images))
        rows.append((name, len(part), missing, 0, pixels, extra_copies(groups), flat))
    header = ("file", "rows", "missing labels", "missing pixels", "gray value", "extra copies", "flat images")
    caption = (
        "Gray value: mean ± standard deviation of all pixels, 0 to 255. A row with a missing or wrong value would have "
        "been refused with its number. Labels of test rows are not read, even where a file has them: only the command "
        "score reads them."
    )
    places = f"Read from {', '.join(map(str, data.files))}; digest of the data {data.digest}."
    others = [f"Passed over: {line}" for line in data.passed_over]
    return Section("Files", [places, Table(header, rows, caption), *others])


def classes_section(found: Explored) -> Section:
    """How many rows each class has."""
    counts, labels, images = found.class_counts, found.data.train.labels, found.data.train.images
    rows = []
    for label, name in enumerate(CLASS_NAMES):
        part, groups = images[labels == label], found.train_groups[labels == label]
        if len(part):
            more = ratio(counts.max() / counts[label]), mean_and_deviation(part), extra_copies(groups)
            rows.append((name, int(counts[label]), percent(counts[label] / counts.sum()), *more))
        else:
            rows.append((name, 0, percent(0), "–", "–", 0))
    header = ("class", "rows", "share", "imbalance", "gray value", "extra copies")
    caption = f"The training rows. The largest class has {found.imbalance:.2f} times the rows of the smallest."
    texts = [f"{count:,} ({percent(count / counts.sum())})" for count in counts]

    def plot(axes) -> None:
        bars(axes, CLASS_NAMES, counts, texts)
        axes.set(xlabel="training rows")
        axes.set_xmargin(0.35)

    return Section("Classes", [draw("classes", "Training rows of each class.", plot), Table(header, rows, caption)])


def samples_section(found: Explored) -> Section:
    """Some faces of each class."""
    rng, grids = np.random.default_rng(0), []
    for label, name in enumerate(CLASS_NAMES):
        rows = np.flatnonzero(found.data.train.labels == label)
        rows = np.sort(rng.permutation(rows)[:SAMPLES])
        faces = [Face(found.image(row), (f"row {row + 1:,}",)) for row in rows]
        grids.append(FaceGrid(f"samples-{name.lower()}", faces, title=name))
    return Section(
        "Samples",
        [
            "Random training faces of each class, with their row in the file; row 1 is the first below the header.",
            *grids,
        ],
    )


def mean_faces_section(found: Explored) -> Section:
    """The mean and the deviation of each class, and what sets it apart from the others."""
    images, labels = found.data.train.images, found.data.train.labels
    parts = {name: images[labels == label] for label, name in enumerate(CLASS_NAMES) if (labels == label).any()}
    parts = {"all": images} | parts
    means = {name: part.mean(0) for name, part in parts.items()}
    deviations = {name: part.std(0) for name, part in parts.items()}
    differences = {name: mean - means["all"] for name, mean in means.items() if name != "all"}
    most = max(1.0, *(np.abs(values).max() for values in differences.values()))
    low, high = min(map(np.min, deviations.values())), max(map(np.max, deviations.values()))
    difference = f"Mean of the class minus mean of all: white is {most:.0f} of 255 brighter, black as much darker."
    deviation = f"The standard deviation of each pixel: black is {low:.0f}, white is {high:.0f} of 255."
    grids = [
        FaceGrid("mean-faces", _faces(means, 0, 255), "The mean of all training faces, and of each class."),
        FaceGrid("mean-differences", _faces(differences, -most, most), difference),
        FaceGrid("deviations", _faces(deviations, low, high), deviation),
    ]
    return Section("Mean faces", grids)


def pixels_section(found: Explored) -> Section:
    """The distribution of the gray values, and of the images' brightness and contrast."""
    parts = dict(zip(found.names, (found.data.train.images, found.data.test.images), strict=True))
    texts = [f"{name}: {mean_and_deviation(images)}" for name, images in parts.items()]
    flat = {name: images.reshape(len(images), -1) for name, images in parts.items()}
    text = f"Mean ± standard deviation of the gray values, 0 to 255: {'; '.join(texts)}."
    return Section(
        "Pixels",
        [
            text,
            _gray_values(parts),
            _histogram(
                "brightness", "mean gray value of an image", {name: rows.mean(1) for name, rows in flat.items()}
            ),
            _histogram(
                "contrast", "standard deviation within an image", {name: rows.std(1) for name, rows in flat.items()}
            ),
        ],
    )


def mean_and_deviation(images: np.ndarray) -> str:
    """Of all pixels, uint8 of any shape: `129.47 ± 65.04`."""
    counts, values = np.bincount(images.ravel(), minlength=256), np.arange(256)
    mean = (counts * values).sum() / images.size
    return f"{mean:.2f} ± {np.sqrt((counts * (values - mean) ** 2).sum() / images.size):.2f}"


def _gray_values(parts: dict[str, np.ndarray]) -> Figure:
    first = next(iter(parts))

    def plot(axes) -> None:
        for colour, (name, images) in zip(COLOURS, parts.items(), strict=False):
            shares = 100 * np.bincount(images.ravel(), minlength=256) / images.size
            axes.plot(shares, color=colour, label=name, linewidth=1.2)
        mean, deviation = parts[first].mean(), parts[first].std()
        axes.axvspan(mean - deviation, mean + deviation, color=BLUE, alpha=0.1, linewidth=0)
        axes.axvline(mean, color=BLUE, linestyle="--", linewidth=1)
        axes.set(xlabel="gray value (0 black, 255 white)", ylabel="pixels (%)", xlim=(0, 255), ylim=(0, None))
        axes.legend(loc="lower left", bbox_to_anchor=(0.53, 0.02))

    caption = f"How often each gray value occurs. Dashed and shaded: mean ± standard deviation of {first}."
    return draw("gray-values", caption, plot)


def _histogram(name: str, label: str, parts: dict[str, np.ndarray]) -> Figure:
    """How the images of each file are distributed over one figure of theirs."""
    edges = np.linspace(0, max(values.max() for values in parts.values()) + 1e-6, 51)

    def plot(axes) -> None:
        for values, part in zip(parts.values(), parts, strict=True):
            axes.stairs(100 * np.histogram(values, edges)[0] / len(values), edges, label=part, linewidth=1.5)
        axes.set(xlabel=f"{label} (gray values)", ylabel="images (%)")
        axes.legend()

    return draw(name, f"How the images are distributed: {label}.", plot)


def _faces(values: dict[str, np.ndarray], black: float, white: float) -> list[Face]:
    """Arrays (48, 48) as faces, with the values that are black and white."""
    scale = 255 / max(white - black, 1e-6)
    images = {name: np.rint((scale * (part - black)).clip(0, 255)).astype(np.uint8) for name, part in values.items()}
    return [Face(image, (name,)) for name, image in images.items()]
