"""Blends the members of runs into a folder of the same form, which can be blended again."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from src.data import competition
from src.data.competition import Competition
from src.dataset import CLASS_NAMES
from src.ensemble.blend import compare_blends, fitted_blend
from src.ensemble.calibration import calibration_line
from src.ensemble.merging import merge_folds
from src.ensemble.methods import AUTO, METHODS, choose, figures_table
from src.ensemble.near_copies_file import write_near_copies
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.errors import UserError
from src.run.copies import NEAR, NO_NEAR_COPIES, copies_lines, search, with_copies
from src.run.finish import accuracy_and_macro_f1
from src.run.intact import require_intact
from src.run.record import (
    BLEND,
    FINISHED,
    RUNNING,
    BlendedMember,
    BlendResult,
    Code,
    EnsembleResult,
    RowCounts,
    RunRecord,
    as_name,
    as_text,
    decode,
)
from src.run.report import try_report
from src.run.run_folder import AGAIN, RUN_FILES, RunFolder
from src.submit.write import read_example, write_submission
from src.terminal import announce
from src.train.device import choose_device


@dataclass(frozen=True)
class BlendRequest:
    """What a blend is asked to do."""

    runs: list[Path]  # folders of runs and of earlier blends
    input: Path  # where the competition's files are searched
    output: Path
    code: Code
    form: str = "auto"
    method: str = "mean"
    report: bool = True  # whether the folder gets report.html
    copies: str = "predicted"  # the setting of a recipe


def blend_runs(request: BlendRequest) -> str:
    """Blends all members of the runs and returns lines with the figures of every blend, and of the one that is used.

    The output gets run.json, predictions/blend.npz, blended/ and submission.csv. Raises UserError for an unknown
    method, a folder without predictions, predictions of other data or changed since, a member that occurs twice, and an
    output folder that holds a run or another blend.
    """
    if request.method not in (*METHODS, AUTO):
        raise UserError(f"--blend {request.method}: choose one of {', '.join((*METHODS, AUTO))}")
    data, folder = competition.read_competition(request.input), RunFolder(request.output)
    files = prediction_files(request.runs)
    found = [load_predictions(file, data.digest, len(data.test)) for file in files]
    runs = [file.parents[1] for file in files]
    learnt = {run: None for run in runs if validates_training_rows(run)}
    found = [without_validation(one) if run in learnt else one for run, one in zip(runs, found, strict=True)]
    members = leaf_members(files, found)
    require_rows(found, data)
    columns, figures = compare_blends(found, data.train.labels)
    method = choose(figures) if request.method == AUTO else request.method
    blended = fitted_blend(found, method, data.train.labels)
    header = describe(blended, method, members)
    record = new_record(request, blended, BlendResult(method, members, figures), data)
    if request.form == "auto" and data.example:
        read_example(data.example, len(data.test))  # before the search, which takes minutes
    claim(folder, record)
    near = search(data, choose_device("auto")[0], announce) if request.copies == NEAR else NO_NEAR_COPIES
    submitted, *copies = with_copies(blended, data, request.copies, near)
    record.ensemble = replace(record.ensemble, labelled_copies=copies[0], near_copies=copies[1])
    folder.write_record(record)
    folder.predictions(BLEND).parent.mkdir(exist_ok=True)
    save_predictions(folder.predictions(BLEND), Predictions(header, blended.valid_rows, blended.valid, blended.test))
    save_columns(folder, files, found)
    if request.copies == NEAR:
        write_near_copies(folder.near_copies, near)
    write_submission(folder.submission, submitted.test.argmax(1), data.example, request.form)
    record.status, record.files = FINISHED, folder.digests()
    folder.write_record(record)
    lines = [f"{run}: its validation rows are left out, since it was trained on them" for run in learnt]
    lines += quality_lines(blended, record.blend, columns, data)
    lines += copies_lines(*copies, len(data.test))
    lines.append(str(folder.submission))
    if request.report:
        try_report(folder.path, data, lines.append)
    return "\n".join(lines)


def quality_lines(blended: Predictions, result: BlendResult, columns: int, data: Competition) -> list[str]:
    """What the blends reach on validation rows. columns: members, the folds of one counting once."""
    rows, count = blended.valid_rows, len(result.members)
    what = f"{result.method} of {count}" if count > 1 else "one member"
    if not len(rows):
        return [f"{what}: no validation rows"]
    labels = data.train.labels[rows]
    word = "out-of-fold accuracy " if columns == 1 < count else ""
    reached = 100 * accuracy_and_macro_f1(labels, blended.valid)[0]
    accuracy = f"{what}: {word}{reached:.2f} % of {len(rows):,} validation rows"
    compared = figures_table(result.figures, len(rows)) if result.figures else []
    return [*compared, accuracy, *([calibration_line(blended.valid, labels)] if len(rows) > 1 else [])]


def validates_training_rows(run: Path) -> bool:
    """Whether the run's validation rows are those that it was trained on, by its run.json."""
    folder = RunFolder(run)
    return folder.record_file.exists() and folder.read_record(AGAIN).recipe.get("valid") == "train"


def without_validation(member: Predictions) -> Predictions:
    """The member with its test rows alone."""
    return replace(member, valid_rows=member.valid_rows[:0], valid=member.valid[:0])


def require_rows(members: list[Predictions], data: Competition) -> None:
    """Raises UserError for validation rows that the training data does not have."""
    last = max((int(member.valid_rows[-1]) for member in members if len(member.valid_rows)), default=-1)
    if last >= len(data.train):
        raise UserError(f"validation row {last} is predicted; the training data has {len(data.train):,} rows")


def prediction_files(runs: list[Path]) -> list[Path]:
    """The predictions files of the runs; UserError for a folder without any, and for a file changed since."""
    files = []
    for folder in runs:
        found = sorted((folder / "predictions").glob("*.npz"))
        if not found:
            raise UserError(f"{folder}: no predictions/*.npz there; name the folder of a run")
        require_intact(folder, *found)
        files += found
    return files


def save_columns(folder: RunFolder, files: list[Path], found: list[Predictions]) -> None:
    """Writes what was blended into blended/, the folds of a member as one: the report compares it with the blend."""
    named = [
        replace(one, header=one.header | {"member": name_of(file, one)}) for file, one in zip(files, found, strict=True)
    ]
    columns = merge_folds(named)
    times = Counter(column.header["member"] for column in columns)
    names: Counter = Counter()
    for column in columns:
        name, seed = column.header["member"], column.header.get("seed")
        name = as_name(f"{name}-s{seed}") if times[name] > 1 and seed is not None else name
        names[name] += 1
        path = folder.blended(f"{name}-{names[name]}" if names[name] > 1 else name)
        path.parent.mkdir(exist_ok=True)
        save_predictions(path, column)


def name_of(file: Path, predictions: Predictions) -> str:
    """The member's name; for a blend, whose members' names are joined, the name of its folder."""
    name = predictions.header["member"]
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        return name
    return as_name(file.resolve().parent.parent.name).replace("+", "-")


def leaf_members(files: list[Path], found: list[Predictions]) -> list[BlendedMember]:
    """The trained members in the files, also those inside earlier blends; UserError where one occurs twice."""
    seen: dict[str, Path] = {}
    members = []
    for file, predictions in zip(files, found, strict=True):
        for member in members_of(predictions):
            if member.digest in seen:
                twice = f"{member.name} of {file} is the same member as one of {seen[member.digest]}"
                raise UserError(f"{twice}: it would count twice.\nName each run once, and no run that a blend holds.")
            seen[member.digest] = file
            members.append(member)
    return members


def members_of(predictions: Predictions) -> list[BlendedMember]:
    """The members of a blend by its header; of other predictions the one itself, whose digest is of its content."""
    header = predictions.header
    try:
        if inside := decode(list[BlendedMember], header["members"]):
            return inside
    except (KeyError, ValueError):  # not a blend of this kit
        pass
    content = hashlib.sha256()
    for array in (predictions.valid_rows, predictions.valid, predictions.test):
        content.update(array.tobytes())
    origin = {key: as_text(str(header[key])) for key in ("recipe", "seed", "fold") if key in header}
    return [BlendedMember(as_name(header["member"]), content.hexdigest(), **origin)]


def describe(blended: Predictions, method: str, members: list[BlendedMember]) -> dict:
    """The header of a blend's predictions file, by which it can be read without this kit."""
    return blended.header | {
        "blend": method,
        "members": [asdict(member) for member in members],
        "classes": list(CLASS_NAMES),
        "rows": {"valid": len(blended.valid_rows), "test": len(blended.test)},
        "columns": {
            "classes": "names of the columns of probs",
            "rows": "row of train.csv (split valid) or of test.csv (split test), from 0",
            "split": "valid or test",
            "probs": "probabilities, each row sums to 1",
        },
    }


def new_record(request: BlendRequest, blended: Predictions, result: BlendResult, data: Competition) -> RunRecord:
    """run.json of the blend, before copies are labelled."""
    rows, members = blended.valid_rows, result.members
    what = [request.method, *sorted(member.digest for member in members)]
    what += [f"copies={request.copies}"] if request.copies != "predicted" else []
    return RunRecord(
        status=RUNNING,
        code=request.code,
        recipe={"name": BLEND, "seed": 0},
        config_hash=hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16],
        data_digest=data.digest,
        rows=RowCounts(0, len(rows), len(data.test)),
        device="",
        ensemble=EnsembleResult(
            [member.name for member in members],
            *accuracy_and_macro_f1(data.train.labels[rows], blended.valid),
            result.method,
        ),
        blend=result,
    )


def claim(folder: RunFolder, record: RunRecord) -> None:
    """Makes the folder. UserError where it holds a run, another blend, or files of a run's names without run.json."""
    if any(place.exists() and not place.is_dir() for place in (folder.path, *folder.path.parents)):
        raise UserError(f"{folder.path} is a file, or below one; give a folder as --output")
    holds = [name for name in RUN_FILES if (folder.path / name).exists()]
    if folder.record_file.exists():
        earlier = folder.read_record()
        same = earlier.blend and (earlier.config_hash, earlier.data_digest) == (record.config_hash, record.data_digest)
        holds = [] if same else ["another blend" if earlier.blend else f"a run of recipe {earlier.recipe_name}"]
    if holds:
        raise UserError(f"{folder.path} holds {', '.join(holds)}. Give another --output.")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder.path} cannot be written to ({error.strerror}); give another --output") from error
