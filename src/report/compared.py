"""What `compare` compares: runs and blends with their predictions, on the rows that two of them have in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from src.data.competition import Competition
from src.dataset import NUM_CLASSES
from src.recipe_changes import differences, flat, is_recipe, shown
from src.report.faces import printable
from src.report.paired import Pair, compare_pair

VALIDATION, OUT_OF_FOLD = "validation", "out-of-fold"


@dataclass(frozen=True)
class Entry:
    """A run or a blend. Where it has several members, rows and probs are those of their blend.

    letter: A, B, …, by which it is called; facts: what → text; recipe: as run.json has it, empty where it cannot be
    read; rows int64 (v,) ascending and probs float32 (v, 7): validation rows; test: by the name of each usage with
    labels bool (n,), which rows of submission.csv are right; notes: what is missing or must be read with care.
    """

    letter: str
    folder: str
    facts: dict[str, str]
    recipe: dict
    rows: np.ndarray
    probs: np.ndarray
    test: dict[str, np.ndarray] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Answers:
    """The rows that an entry has predicted, int64 (n,) ascending, and which of them are right, bool (n,)."""

    rows: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True)
class Compared:
    """Entries, and the data that all of them predict. notes: what is missing for all of them."""

    entries: Sequence[Entry]
    data: Competition
    notes: Sequence[str] = ()

    @property
    def first(self) -> Entry:
        """The entry that all others are compared with."""
        return self.entries[0]

    @property
    def others(self) -> Sequence[Entry]:
        return self.entries[1:]

    @property
    def validation(self) -> str:
        """What the validation rows are called: out-of-fold where each entry has predicted every training row."""
        every = all(len(entry.rows) == len(self.data.train) for entry in self.entries)
        return OUT_OF_FOLD if every else VALIDATION

    def answers(self) -> dict[str, dict[str, Answers]]:
        """By the name of the rows, and the letter of each entry that has predicted some of them."""
        found = {self.validation: {e.letter: self._valid_answers(e) for e in self.entries if len(e.rows)}}
        for usage in dict.fromkeys(usage for entry in self.entries for usage in entry.test):
            having = {entry.letter: entry.test[usage] for entry in self.entries if usage in entry.test}
            found[usage] = {letter: Answers(np.arange(len(right)), right) for letter, right in having.items()}
        return {name: by_letter for name, by_letter in found.items() if by_letter}

    def pairs(self) -> Iterator[tuple[str, Entry, Pair]]:
        """Each other entry against the first, by the name of the rows: those that both have predicted."""
        for name, answers in self.answers().items():
            for other in self.others:
                if self.first.letter in answers and other.letter in answers:
                    one, two = answers[other.letter], answers[self.first.letter]
                    _, here, there = np.intersect1d(one.rows, two.rows, assume_unique=True, return_indices=True)
                    if len(here):
                        yield name, other, compare_pair(one.correct[here], two.correct[there])

    def common(self, other: Entry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The validation rows that the first and the other have in common, and the probabilities of both."""
        first = self.first
        rows, here, there = np.intersect1d(first.rows, other.rows, assume_unique=True, return_indices=True)
        return rows, first.probs[here], other.probs[there]

    def classes(self, other: Entry) -> Iterator[tuple[int, float, float, Pair]]:
        """Of each class with common validation rows: number, recall of the first and the other, other against first."""
        rows, *probs = self.common(other)
        labels = self.data.train.labels[rows]
        first, second = (prob.argmax(1) == labels for prob in probs)
        for number in range(NUM_CLASSES):
            if (here := labels == number).any():
                pair = compare_pair(second[here], first[here])
                yield number, float(first[here].mean()), float(second[here].mean()), pair

    def _valid_answers(self, entry: Entry) -> Answers:
        return Answers(entry.rows, entry.probs.argmax(1) == self.data.train.labels[entry.rows])


def setting_differences(first: Entry, other: Entry) -> list[tuple[str, str, str]] | None:
    """Key and both values of each setting that differs, with recipe and seed; None where nothing can be compared.

    Two recipes of one member each are compared in all settings, whatever their members are called.
    """
    ours, theirs = first.recipe, other.recipe
    if not (is_recipe(ours) and is_recipe(theirs)):
        return None
    named = {"recipe": "name", "seed": "seed"}
    found = [(word, ours.get(key), theirs.get(key)) for word, key in named.items() if ours.get(key) != theirs.get(key)]
    members = [recipe["members"] for recipe in (ours, theirs)]
    if all(len(part) == 1 for part in members):
        one, two = (flat(part[0]) for part in members)
        theirs = theirs | {"members": [members[1][0] | {"name": members[0][0]["name"]}]}
        found += [("members", one["name"], two["name"])] * (one["name"] != two["name"])
    found += differences(ours, theirs)
    return [(key, *(printable(shown(value)) for value in values)) for key, *values in found]
