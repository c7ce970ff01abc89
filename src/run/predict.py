"""Predicts a user's pictures with the networks of a finished run: predictions.csv and a page."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src.data.pictures import read_pictures
from src.dataset import CLASS_NAMES
from src.ensemble.means import mean
from src.errors import UserError
from src.files import replacing
from src.models.trained import load_trained, member_of_training
from src.report.attention import maps_of
from src.report.page import write_page
from src.report.predicted import MEMBERS, PICTURES, Predicted, predicted_page, predicted_table
from src.run.intact import require_intact
from src.run.record import RunRecord
from src.run.run_folder import AGAIN, RunFolder, refuse_run
from src.train.device import choose_device
from src.train.precision import choose_precision
from src.train.predict import probabilities

CSV, PAGE = "predictions.csv", "predictions.html"


@dataclass(frozen=True)
class PredictRequest:
    """What is to be predicted. places: pictures, and folders of pictures."""

    run: Path
    places: list[Path]
    output: Path
    device: str = "auto"


def predict_pictures(request: PredictRequest) -> str:
    """Writes predictions.csv, predictions.html and figures/ into the output folder; returns what to print.

    The members of the run's submission predict, and their mean counts. Raises UserError for a folder that is no run
    with networks, where none of the files is a picture, and for an output folder that holds a run.
    """
    folder = RunFolder(request.run)
    record = read_finished(folder)
    weights = weights_files(folder, record)
    refuse_run(request.output)
    device = choose_device(request.device)[0]
    pictures, left_out = read_pictures(request.places)
    images = np.stack(list(pictures.values()))
    probs, maps = {}, {}
    for name, file in weights.items():
        probs[name], found = predict_member(record, name, file, torch.from_numpy(images).unsqueeze(1).to(device))
        maps |= {name: found} if len(maps) < MEMBERS and found else {}
    blended = mean(np.stack(list(probs.values())))
    notes = notes_of(record, list(weights))
    predicted = Predicted(request.run, list(pictures), images, blended, probs, maps, left_out, notes)
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        write_csv(request.output / CSV, predicted)
        write_page(predicted_page(predicted), request.output / PAGE)
    except OSError as error:
        raise UserError(f"{request.output}: cannot be written ({error.strerror}).\nGive another --output.") from error
    return "\n".join([*predicted_table(predicted), f"table: {request.output / CSV}", f"page: {request.output / PAGE}"])


def read_finished(folder: RunFolder) -> RunRecord:
    """run.json of a run that has networks; UserError where there are none."""
    record = folder.read_record(AGAIN) if folder.record_file.exists() else None
    if record is None:
        raise UserError(f"{folder.path}: no run.json there.\nName the folder of a run.")
    if record.blend:
        raise UserError(f"{folder.path} is a blend, which has no networks of its own.\nName one of the runs in it.")
    if not members_of(record):
        raise UserError(f"{folder.path}: no member has finished.\nThe same command that began the run continues it.")
    return record


def members_of(record: RunRecord) -> list[str]:
    """The members that the submission is made of; where there is none, all that have finished."""
    return list(record.ensemble.members) if record.ensemble else list(record.members)


def notes_of(record: RunRecord, predicting: list[str]) -> list[str]:
    """In what the prediction differs from that of the run's submission, a line each. predicting: members."""
    absent, method = [name for name in members_of(record) if name not in predicting], "mean"
    if record.ensemble and len(predicting) > 1:
        method = record.ensemble.method
    lines = [f"the weights of {', '.join(absent)} are missing; the others predict"] if absent else []
    return lines + ([f"the submission is blended by {method}; here it is the mean"] if method != "mean" else [])


def weights_files(folder: RunFolder, record: RunRecord) -> dict[str, Path]:
    """Member → weights, of the members that have them; UserError where none has, or where a file was changed."""
    files = {name: folder.weights_file(name) for name in members_of(record)}
    found = {name: file for name, file in files.items() if file.is_file()}
    if not found:
        missing = next(iter(files.values()))
        raise UserError(f"{missing}: the weights are missing.\nOf a kernel's run, `remote fetch --weights` gets them.")
    require_intact(folder.path, *found.values())
    return found


def predict_member(
    record: RunRecord, name: str, file: Path, images: torch.Tensor
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Probabilities, float64 (n, 7), as the run itself predicts, and the maps of the first PICTURES faces by kind.

    images: uint8 (n, 1, 48, 48) on the device to use.
    """
    member, device = member_of_training(record.recipe, name), images.device
    net = load_trained(member, file).to(device)
    precision = "auto" if (member.precision, device.type) == ("fp16", "cpu") else member.precision
    found = probabilities(net, images, member.tta, choose_precision(precision, device)).cpu().numpy()
    return found.astype(np.float64), maps_of(net, images[:PICTURES], found[:PICTURES].argmax(1))


def write_csv(path: Path, predicted: Predicted) -> None:
    """One row a picture: file, class, and the probability of each class from 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "class", *CLASS_NAMES))
    for file, probs in zip(predicted.files, predicted.blended, strict=True):
        writer.writerow((file, CLASS_NAMES[probs.argmax()], *(f"{value:.6f}" for value in probs)))
    with replacing(path) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8
