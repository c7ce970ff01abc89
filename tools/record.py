"""Recorded results: a finished run becomes a folder of results/, and all folders become the tables of the documents.

    python -m tools.record RUN … --input DIR     record runs, scored with the labels below DIR, and rewrite the tables
    python -m tools.record                       rewrite the tables

A folder holds run.json, history.csv, score.json, test_probs.npz (`probs`, float16 (t, 7), in test.csv's order, those of
submission.csv) and predictions.npz, a predictions file (src.ensemble.predictions) with what the networks predict, for
the validation rows too: a training can take its soft targets from it. That of several members has ensemble.csv too
(tools.ensemble_figures). Nobody edits the tables by hand.
"""

import argparse
import contextlib
import re
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

from src.terminal import accept_any_character, announce_loading, run_command

if __name__ == "__main__":
    accept_any_character()
    announce_loading("torch")  # before the imports that take seconds

import numpy as np
import pandas as pd

from src.command_line import path
from src.config import hash_of_settings
from src.csv_cells import read_cells
from src.data.competition import Competition, read_competition
from src.ensemble.blend import fitted_blend
from src.ensemble.near_copies_file import read_near_copies
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.errors import UserError
from src.recipe_changes import folder_name
from src.run.copies import NEAR, NO_NEAR_COPIES, PREDICTED, with_copies
from src.run.intact import require_intact
from src.run.record import BLEND, FINISHED, RunRecord, read_record
from src.run.run_folder import RunFolder, write_json
from src.submit.score import score_submission
from src.train.tracking import PERCENT
from tools import result_tables
from tools.ensemble_figures import ensemble_table
from tools.result_tables import ADVICE, changes

COMMAND = "python -m tools.record"


def record(run: Path, source: Path, results: Path) -> Path:
    """Copies what a result needs from the folder of a finished run into a folder of `results`; returns that folder.

    source: where the competition's files and the labels for scoring are. Raises UserError for a run that is not
    finished, for predictions of other data, for files that were changed since, and for a submission that cannot be
    scored. A blend is recorded too; it has no history.
    """
    folder = RunFolder(run)
    recorded = read_finished(folder)
    if not recorded.blend:  # older sources counted settings at their default too
        recorded.config_hash = hash_of_settings(recorded.recipe)
    data = read_competition(source)
    parts, blended = read_predictions(folder, recorded, data)
    scored = asdict(score_submission(folder.submission, source))
    labelled = as_submitted(folder, recorded, blended, data)
    histories = [read_history(folder.history(m)).assign(member=m) for m in recorded.members]
    for earlier in resumed_results(results, recorded):
        shutil.rmtree(earlier)
    target = result_folder(results, recorded)
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "run.json", recorded)
    write_json(target / "score.json", scored)
    np.savez_compressed(target / "test_probs.npz", probs=(labelled or blended).test.astype(np.float16))
    save_predictions(target / "predictions.npz", rounded(blended))
    if len(parts) > 1 and all(len(part.valid_rows) for part in parts):
        table = ensemble_table(parts, recorded.ensemble, data, source, labelled)
        table.to_csv(target / "ensemble.csv", index=False, float_format="%.6g")
    if histories:
        pd.concat(histories).to_csv(target / "history.csv", index=False, float_format="%.6g")
    return target


def as_submitted(folder: RunFolder, recorded: RunRecord, blended: Predictions, data: Competition) -> Predictions | None:
    """The blend with what copies of training images say, as in the submission; None where it has no such labels."""
    copies, near = recorded.ensemble.copies, NO_NEAR_COPIES
    if copies == PREDICTED:
        return None
    if copies == NEAR:
        near = read_near_copies(folder.near_copies, len(data.train), len(data.test))
    return with_copies(blended, data, copies, near, recorded.recipe.get("max_train_rows"))[0]


def read_finished(folder: RunFolder) -> RunRecord:
    """The run.json of a finished run; UserError for another one, and for settings of no recipe."""
    if not folder.record_file.is_file():
        raise UserError(f"{folder.path}: no run.json there; name the folder of a finished run")
    recorded = read_record(folder.record_file, ADVICE)
    if recorded.blend and recorded.status == FINISHED and recorded.ensemble:
        return recorded
    if recorded.status != FINISHED or not recorded.members or recorded.ensemble is None:
        raise UserError(f"{folder.record_file}: the run is {recorded.status}; run the same command again to finish it")
    members, used = recorded.recipe.get("members"), recorded.ensemble.members
    if not isinstance(members, list) or not members or not all(map(is_member, members)):
        raise UserError(f"{folder.record_file}: recipe.members are no members of a recipe; run it again.")
    if not used or not set(used) <= recorded.members.keys():
        raise UserError(f"{folder.record_file}: ensemble.members must name members of the run; run it again.")
    if not isinstance(recorded.recipe.get("max_train_rows"), int | None):
        raise UserError(f"{folder.record_file}: recipe.max_train_rows is no number of rows; run it again.")
    return recorded


def read_predictions(
    folder: RunFolder, recorded: RunRecord, data: Competition
) -> tuple[list[Predictions], Predictions]:
    """What was blended, with the names that the folder gives it, and the blend, whose copies are not labelled yet.

    Raises UserError for files that were changed since, and for predictions of other data.
    """
    names = recorded.ensemble.members
    files = sorted(folder.path.glob("blended/*.npz")) if recorded.blend else [folder.predictions(n) for n in names]
    require_intact(folder.path, folder.submission, folder.near_copies, folder.predictions(BLEND), *files)
    found = [(file.stem, load_predictions(file, data.digest)) for file in files]
    parts = [replace(one, header=one.header | {"member": name}) for name, one in found]
    if recorded.blend:
        return parts, load_predictions(folder.predictions(BLEND), data.digest)
    return parts, fitted_blend(parts, recorded.ensemble.method, data.train.labels)


def rounded(predictions: Predictions) -> Predictions:
    """The same with probabilities of float16's precision, which compress better."""
    valid, test = (part.astype(np.float16).astype(np.float32) for part in (predictions.valid, predictions.test))
    return replace(predictions, valid=valid, test=test)


def is_member(settings: object) -> bool:
    """Whether the settings have what the tables read of a member."""
    kinds = {"name": str, "epochs": int, "augment": dict}
    return isinstance(settings, dict) and all(isinstance(settings.get(key), kind) for key, kind in kinds.items())


def resumed_results(results: Path, recorded: RunRecord) -> list[Path]:
    """The folders of `results` with an earlier state of the run: the same settings, data and sources, and its members.

    A member that a resumed run takes over keeps its figures; one that is trained again takes another time.
    """
    found = []
    for file in sorted(results.glob("*/run.json")):
        with contextlib.suppress(UserError):
            earlier = read_record(file, ADVICE)
            taken_over = earlier.members.items() <= recorded.members.items()
            if earlier.members and taken_over and earlier.identity == recorded.identity:
                found.append(file.parent)
    return found


def result_folder(results: Path, recorded: RunRecord) -> Path:
    """The run's folder below `results`. Where a run of other sources has that name, the commit is appended."""
    target = results / result_name(recorded)
    if not (target / "run.json").exists() or read_record(target / "run.json", ADVICE).code == recorded.code:
        return target
    return target.with_name(f"{target.name}-{recorded.code.commit}")


def result_name(recorded: RunRecord) -> str:
    """<recipe>-<changed settings>-<device>-seed<S> as a file's name; long ones are cut and end with the config hash."""
    if recorded.blend:
        return f"{recorded.recipe_name}{folder_name([recorded.blend.method, recorded.config_hash], '')}"
    device = re.sub(r"[^a-z0-9]+", "-", recorded.device.split("(")[0].lower()).strip("-")
    changed = folder_name(changes(recorded), recorded.config_hash)
    return f"{recorded.recipe_name}{changed}-{device}-seed{recorded.recipe['seed']}"


def read_history(path: Path) -> pd.DataFrame:
    """The cells of history.csv as text, one row an epoch. UserError for anything else, over 2 MB, or other units."""
    header, *rows = read_cells(path)
    even = len(set(header)) == len(header) and all(len(row) == len(header) for row in rows)
    if not even or "epoch" not in header or not all(row[header.index("epoch")].isdecimal() for row in rows):
        raise UserError(f"{path}: not a history of this kit, with a row for each epoch.\nTrain the member again.")
    if older := [name for name in PERCENT if name in header]:
        raise UserError(f"{path} has the older column {older[0]}, a share of 1; {ADVICE}")
    return pd.DataFrame(rows, columns=list(header))


def write_tables(results: Path) -> None:
    """Rewrites README.md from all recorded runs; UserError where the folder is not there."""
    rows, ensembles = result_tables.rows_of_runs(results), result_tables.tables_of_ensembles(results)
    if not results.is_dir():
        raise UserError(f"{results}: no such folder")
    (results / "README.md").write_text(result_tables.page(rows, ensembles), encoding="utf-8")


def main(argv: list[str]) -> int:
    """The command line; exit code 0, or 2 for the user's error."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--input", type=path, default=Path("input"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--results", type=path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        for run in arguments.runs:
            print(record(run, arguments.input, arguments.results))
        write_tables(arguments.results)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
