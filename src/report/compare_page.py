"""The page that `compare` makes."""

from collections.abc import Iterator

import numpy as np

from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.report.compare_text import NO_SETTINGS, conclusion, verdict
from src.report.compared import Compared, Entry, setting_differences
from src.report.faces import Face, FaceGrid
from src.report.figures import COLOURS, Figure, draw
from src.report.numbers import interval, percent, points
from src.report.page import Notice, Page, Section, Table, Terms
from src.report.paired import accuracy_interval, p_value

FACES = 3  # of a class in a grid
TERMS = {
    "accuracy": "the share of rows whose largest probability is that of their label. The interval (Wilson, 95 %) says "
    "how far chance in the choice of the rows may move it.",
    "points": "the difference of two accuracies in percentage points, with its 95 % interval, on the same rows.",
    "p": "the exact test of McNemar: how likely two equally good classifiers differ so much by chance, judged by the "
    "rows that only one of them has right. Below 0.05 the difference is called shown. Of twenty comparisons of equal "
    "runs one falls below it by chance. It does not cover the chance of another seed: compare several seeds for that.",
    "recall": "of the faces of a class, the share that is recognised.",
}


def compare_page(found: Compared) -> Page:
    """All sections. The first run is what the others are compared with."""
    *letters, last = (entry.letter for entry in found.others)
    letters = " and ".join(filter(None, (", ".join(letters), last)))
    pairs = list(found.pairs())
    firsts = [next((pair for pair in pairs if pair[1] is other), None) for other in found.others]
    words = [verdict((other.letter, found.first.letter), name, pair) for name, other, pair in filter(None, firsts)]
    summary = f"{'. '.join(words)}."
    sections = [_runs(found), _settings(found), _accuracy(found)]
    faces = [section for other in found.others for section in _of_pair(found, other)]
    return Page(f"{letters} compared with {found.first.letter}", summary, [*sections, *faces])


def _runs(found: Compared) -> Section:
    names = list(dict.fromkeys(name for entry in found.entries for name in entry.facts))
    rows = [(e.letter, e.folder, *(e.facts.get(name, "–") for name in names)) for e in found.entries]
    notes = [f"{entry.letter}: {note}" for entry in found.entries for note in entry.notes]
    text = "Of a run with several members the blend is compared that its submission is made of; on test rows it is "
    text += "submission.csv itself."
    return Section("Runs", [text, Table(("run", "folder", *names), rows), *map(Notice, [*notes, *found.notes])])


def _settings(found: Compared) -> Section:
    blocks = []
    for other in found.others:
        changed = setting_differences(found.first, other)
        title = f"{found.first.letter} and {other.letter}"
        if changed is None:
            blocks.append(f"{title}: {NO_SETTINGS}.")
        elif not changed:
            blocks.append(f"{title}: all settings are the same.")
        else:
            blocks.append(Table(("setting", found.first.letter, other.letter), changed, f"{title}."))
    return Section("Settings that differ", blocks)


def _accuracy(found: Compared) -> Section:
    rows = [
        (name, letter, len(answer.rows), *_accuracy_cells(answer.correct))
        for name, answers in found.answers().items()
        for letter, answer in answers.items()
    ]
    each = Table(("rows", "run", "n", "accuracy", "95 % interval"), rows, "Each on all rows that it has predicted.")
    return Section("Accuracy", [_accuracy_figure(found), each, _pairs(found), Terms(TERMS)])


def _accuracy_cells(correct: np.ndarray) -> tuple[str, str]:
    accuracy, *limits = accuracy_interval(correct)
    return percent(accuracy), interval(*limits)


def _pairs(found: Compared) -> Table:
    first, rows = found.first.letter, []
    for name, other, pair in found.pairs():
        difference = points(pair.difference), f"± {100 * pair.half_width:.2f}"
        only = pair.only_first, pair.only_second
        words = conclusion((other.letter, first), pair)
        rows.append((f"{other.letter} against {first}", name, pair.n, *difference, *only, p_value(pair.p), words))
    head = ("pair", "rows", "n", "points", "95 %", f"only {first} wrong", f"only {first} right", "p", "")
    return Table(head, rows, "On the rows that both have predicted.")


def _accuracy_figure(found: Compared) -> Figure:
    answers = found.answers()

    def plot(axes):
        names = []
        for name, by_letter in answers.items():
            for letter, answer in by_letter.items():
                value, low, high = (100 * part for part in accuracy_interval(answer.correct))
                where, colour = len(names), COLOURS[list(answers).index(name) % len(COLOURS)]
                axes.errorbar(value, where, xerr=[[value - low], [high - value]], fmt="o", capsize=4, color=colour)
                axes.annotate(f"{value:.2f}", (value, where), (0, 7), textcoords="offset points", ha="center")
                names.append(f"{letter}, {name}")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.7)
        axes.set_xmargin(0.1)
        axes.set_xlabel("accuracy (%)")

    lines = sum(map(len, answers.values()))
    size = (5.6, 1.2 + 0.45 * lines)
    return draw("accuracies", "Accuracy with its 95 % interval.", plot, size)


# ------------------------------------------------------------------------------------------ a pair


def _of_pair(found: Compared, other: Entry) -> Iterator[Section]:
    """Classes and faces of one pair; nothing where it has no common validation rows."""
    first, second = found.first.letter, other.letter
    classes = list(found.classes(other))
    if not classes:
        yield Section(f"{second} against {first}", ["The two have no common validation rows."])
        return
    rows = [
        (CLASS_NAMES[k], pair.n, percent(before), percent(after), points(pair.difference), p_value(pair.p))
        for k, before, after, pair in classes
    ]
    head = ("class", "n", f"recall of {first}", f"recall of {second}", "points", "p")
    table = Table(head, rows, f"{second} against {first} on common {found.validation} rows.")
    yield Section(f"{second} against {first}: classes", [_classes_figure(classes, first, second), table])
    grids = [grid for better in (second, first) if (grid := _faces(found, other, better)).faces]
    text = f"Of each class the {FACES} faces for which the probabilities of the label differ most, without copies."
    shown = [text, *grids] if grids else ["Both have the same rows right."]
    yield Section(f"{second} against {first}: faces that only one has right", shown)


def _classes_figure(classes: list, first: str, second: str) -> Figure:
    names = [CLASS_NAMES[number] for number, *_ in classes]

    def plot(axes):
        places = np.arange(len(names))
        columns = [[100 * row[column] for row in classes] for column in (1, 2)]
        axes.hlines(places, *columns, color=COLOURS[-1], zorder=1)
        for values, letter, colour, sign in zip(columns, (first, second), COLOURS, "os", strict=False):
            axes.scatter(values, places, label=letter, color=colour, marker=sign, zorder=2)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlabel("recall (%)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)

    return draw(f"recall-{second}-{first}", f"Recall of {first} and {second} by class.", plot)


def _faces(found: Compared, other: Entry, better: str) -> FaceGrid:
    """Validation faces that the entry `better` of the two has right and the other one wrong."""
    rows, first, second = found.common(other)
    labels, images = found.data.train.labels[rows], found.data.train.images
    letters, probs = (found.first.letter, other.letter), np.stack([first, second])
    number = letters.index(better)
    right = probs.argmax(2) == labels
    of_label = np.take_along_axis(probs, labels[None, :, None], 2)[..., 0]
    only = np.flatnonzero(right[number] & ~right[1 - number])
    order = only[np.argsort(of_label[1 - number][only] - of_label[number][only], kind="stable")]
    faces = []
    for place in _chosen(order, labels, images[rows]):
        lines = [CLASS_NAMES[labels[place]], f"row {rows[place] + 1:,}"]
        for letter, prob in zip(letters, probs[:, place], strict=True):
            lines.append(f"{letter}: {CLASS_NAMES[prob.argmax()]} {100 * prob.max():.0f}\N{NO-BREAK SPACE}%")
        faces.append(Face(images[rows[place]], lines))
    worse = letters[1 - number]
    caption = "Label and row, from 1; then what each says, with its probability."
    title = f"Only {better} is right, {worse} is wrong: {len(only):,} faces"
    return FaceGrid(f"only-{better}-not-{worse}", faces, caption, title)


def _chosen(order: np.ndarray, labels: np.ndarray, images: np.ndarray) -> list[int]:
    """The first faces of each class in the order, int64 (k,) of places, without copies; class by class."""
    _, first = np.unique(images[order].reshape(len(order), images[0].size), axis=0, return_index=True)
    distinct = order[np.sort(first)]
    return [place for number in range(NUM_CLASSES) for place in distinct[labels[distinct] == number][:FACES]]
