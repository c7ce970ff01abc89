"""What `compare` says on the terminal."""

from src.dataset import CLASS_NAMES
from src.report.compared import Compared, Entry, setting_differences
from src.report.numbers import interval, percent, points
from src.report.paired import Pair, accuracy_interval, p_value
from src.terminal import aligned

NO_SETTINGS = "not compared: one is a blend, or its run.json cannot be read"


def compare_text(found: Compared) -> str:
    """Runs, settings, accuracies, paired differences and recall by class, without a line end."""
    parts = [_runs(found), _settings(found), *_accuracies(found)]
    return "\n\n".join([*parts, *(_classes(found, other) for other in found.others if any(found.classes(other)))])


def verdict(letters: tuple[str, str], rows: str, pair: Pair) -> str:
    """`B against A: +1.20 ± 0.80 points on 5,749 validation rows, B is better`. letters: other and first."""
    difference = f"{points(pair.difference)} ± {100 * pair.half_width:.2f} points"
    return f"{letters[0]} against {letters[1]}: {difference} on {pair.n:,} {rows} rows, {conclusion(letters, pair)}"


def conclusion(letters: tuple[str, str], pair: Pair) -> str:
    """What the test of McNemar says at 5 %."""
    if pair.p >= 0.05:
        return "no difference is shown"
    return f"{letters[0 if pair.difference > 0 else 1]} is better"


def _runs(found: Compared) -> str:
    lines = []
    for entry in found.entries:
        facts = [f"{value}" if what == "recipe" else f"{what} {value}" for what, value in entry.facts.items()]
        lines.append(f"{entry.letter}  {entry.folder}: {', '.join(facts)}")
        lines += [f"   note: {note}" for note in entry.notes]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def _settings(found: Compared) -> str:
    lines = []
    for other in found.others:
        changed = setting_differences(found.first, other)
        words = "; ".join(f"{key} {there} → {here}" for key, there, here in changed or ()) or "none"
        lines.append(f"settings, {found.first.letter} → {other.letter}: {NO_SETTINGS if changed is None else words}")
    return "\n".join(lines)


def _accuracies(found: Compared) -> list[str]:
    """A table for each kind of rows, with the paired differences below it."""
    pairs, tables = list(found.pairs()), []
    for name, answers in found.answers().items():
        rows = [(name, "rows", "accuracy", "95 % interval")]
        for letter, answer in answers.items():
            accuracy, *limits = accuracy_interval(answer.correct)
            rows.append((letter, f"{len(answer.rows):,}", percent(accuracy), interval(*limits)))
        lines = [aligned(rows)]
        for other, pair in ((other, pair) for rows_name, other, pair in pairs if rows_name == name):
            letters = other.letter, found.first.letter
            lines.append(verdict(letters, name, pair))
            only = f"only {letters[0]} right: {pair.only_first:,}, only {letters[1]} right: {pair.only_second:,}"
            lines.append(f"    {only}; exact McNemar p = {p_value(pair.p)}")
        tables.append("\n".join(lines))
    return tables


def _classes(found: Compared, other: Entry) -> str:
    first = found.first.letter
    count = len(found.common(other)[0])
    title = f"recall of {first} and {other.letter} on the {count:,} {found.validation} rows of both"
    rows = [("class", "rows", first, other.letter, f"{other.letter} - {first}", "p")]
    for number, before, after, pair in found.classes(other):
        numbers = f"{pair.n:,}", percent(before), percent(after), points(pair.difference), p_value(pair.p)
        rows.append((CLASS_NAMES[number], *numbers))
    return f"{title}\n{aligned(rows)}"
