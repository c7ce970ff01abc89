"""The command `compare`: reads runs and blends, and compares them on the terminal and on a page."""

import string
from dataclasses import replace
from pathlib import Path

from src.data import competition
from src.data.competition import Competition
from src.ensemble.blend import fitted_blend
from src.ensemble.methods import METHODS
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.report.compare_page import compare_page
from src.report.compare_text import compare_text
from src.report.compared import Compared, Entry
from src.report.faces import printable
from src.report.numbers import counted, duration
from src.report.page import write_page
from src.run.copies import PREDICTED
from src.run.intact import require_intact
from src.run.reblend import prediction_files
from src.run.record import FINISHED, RunRecord, read_record
from src.run.run_folder import RunFolder, refuse_run
from src.submit.check import check_submission
from src.submit.score import correct_masks

NAME = "compare.html"
LETTERS = string.ascii_uppercase
OLDER = "its settings are not compared"


def compare(folders: list[Path], source: Path, output: Path) -> str:
    """Compares the first run or blend with each of the others; writes compare.html and figures/, returns the text.

    Raises UserError as `read_compared` does, and where the output holds a run or cannot be written.
    """
    refuse_run(output)
    found = read_compared(folders, source)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_page(compare_page(found), output / NAME)
    except OSError as error:
        raise UserError(f"{output}: the page cannot be written ({error.strerror}).\nGive another --output.") from error
    return f"{compare_text(found)}\n\npage: {output / NAME}"


def read_compared(folders: list[Path], source: Path) -> Compared:
    """The runs and blends in the folders, with the data below `source`.

    Raises UserError for fewer than two folders, one that occurs twice, one without predictions, damaged predictions and
    those of other data, and for runs without a common row.
    """
    check_folders(folders)
    files = [prediction_files([folder]) for folder in folders]  # before the data, which takes seconds
    data = competition.read_competition(source)
    named = zip(LETTERS, folders, files, strict=False)
    found = add_test(
        [read_entry(letter, folder, names, data) for letter, folder, names in named], folders, source, data
    )
    if not any(found.pairs()):
        raise UserError(
            "no row is predicted by the first of these and by another one: nothing can be compared.\n"
            "Name runs of the same fold, or with a submission.csv beside labels of the test."
        )
    return found


def check_folders(folders: list[Path]) -> None:
    """Raises UserError unless there are 2 to 26 different folders."""
    if not 2 <= len(folders) <= len(LETTERS):
        raise UserError(
            f"compare: {counted(len(folders), 'folder')} given; name 2 to {len(LETTERS)} folders of runs or blends"
        )
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder}: named twice; name each run once")


def read_entry(letter: str, folder: Path, files: list[Path], data: Competition) -> Entry:
    """A run or blend, without its test rows. Notes say what run.json lacks, and what to read with care."""
    recipe, notes, record = {}, [], None
    try:
        record = read_record(RunFolder(folder).record_file, OLDER)
        recipe, notes = record.recipe, record_notes(record)
    except UserError as error:
        notes.append(first_line(error))
    files, method = blended_files(record, files)
    members = [load_predictions(file, data.digest, len(data.test)) for file in files]
    last = max((int(member.valid_rows[-1]) for member in members if len(member.valid_rows)), default=-1)
    if last >= len(data.train):
        raise UserError(f"{folder}: predicts row {last}; the training data has {len(data.train):,} rows")
    found = members[0] if len(members) == 1 else fitted_blend(members, method, data.train.labels)
    names = f"{len(files)} ({method})" if len(files) > 1 else files[0].stem
    facts = {what: printable(text) for what, text in (describe(record, names) | run_facts(record)).items()}
    valid = found.valid_rows, found.valid
    if recipe.get("valid") == "train":  # its accuracy there is none of new faces
        notes.append("it validates on the rows that it trains on, which are left out")
        valid = found.valid_rows[:0], found.valid[:0]
    return Entry(letter, printable(str(folder)), facts, recipe, *valid, notes=notes)


def blended_files(record: RunRecord | None, files: list[Path]) -> tuple[list[Path], str]:
    """The predictions files that the run's submission is made of, and how: of all, the mean, where it does not say."""
    if record and record.ensemble and not record.blend and record.ensemble.method in METHODS:
        by_name = {file.stem: file for file in files}
        if all(name in by_name for name in record.ensemble.members):
            return [by_name[name] for name in record.ensemble.members], record.ensemble.method
    return files, "mean"


def describe(record: RunRecord | None, names: str) -> dict[str, str]:
    """Recipe, seed and members; names: of the members whose predictions are compared."""
    if not record:
        return {"members": names}
    if record.blend:
        return {"recipe": "blend", "members": f"{len(record.blend.members)} ({record.blend.method})"}
    several = record.recipe.get("seeds", "none")
    seeds = {"seed": str(record.recipe["seed"])} if several == "none" else {"seeds": str(several)}
    return {"recipe": record.recipe_name, **seeds, "members": names}


def run_facts(record: RunRecord | None) -> dict[str, str]:
    """What was trained, for how long, where."""
    if not record:
        return {}
    results = record.members.values()
    facts = {}
    if results:
        facts["epochs"] = "+".join(dict.fromkeys(str(result.epochs) for result in results))
        facts["parameters"] = f"{sum(result.parameters for result in results):,}"
        facts["trained in"] = duration(sum(result.train_seconds for result in results))
    if record.device:
        facts["on"] = record.device
    return facts | {"code": f"{record.code.commit}{'+' * record.code.dirty}"}


def record_notes(record: RunRecord) -> list[str]:
    """What to know before its figures are believed."""
    notes = []
    if record.status != FINISHED:
        notes.append(f"the run is {record.status}; the members that have predictions are compared")
    for name, reason in (record.failed | record.skipped).items():
        notes.append(f"{name} is not in it: {reason}")
    if record.ensemble and record.ensemble.copies != PREDICTED:
        notes.append(f"its test rows have copies={record.ensemble.copies}: labels of train.csv count there")
    return notes


def add_test(entries: list[Entry], folders: list[Path], source: Path, data: Competition) -> Compared:
    """The entries with what their submissions have right, or with a note why that is not known."""
    ready = {}
    for number, folder in enumerate(folders):
        try:
            ready[number] = checked_submission(RunFolder(folder), data)
        except UserError as error:
            notes = [*entries[number].notes, f"{first_line(error)}; its test rows are left out"]
            entries[number] = replace(entries[number], notes=notes)
    try:
        masks = correct_masks(list(ready.values()), source, data) if ready else []
    except UserError as error:  # there need not be any labels of the test
        return Compared(entries, data, [f"test rows are left out: {first_line(error)}"])
    for number, mask in zip(ready, masks, strict=True):
        entries[number] = replace(entries[number], test=mask)
    return Compared(entries, data)


def checked_submission(folder: RunFolder, data: Competition) -> Path:
    """The run's submission; UserError where it is not there, not valid, or changed since."""
    if not folder.submission.exists():
        raise UserError("it has no submission.csv")
    require_intact(folder.path, folder.submission)
    check_submission(folder.submission, len(data.test), data.example)
    return folder.submission


def first_line(error: UserError) -> str:
    return str(error).split("\n")[0].rstrip(".")
