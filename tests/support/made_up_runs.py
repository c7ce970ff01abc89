"""Folders of runs with made-up results: as a run of the recipe `quick` leaves them, without a training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from src import config, recipes
from src.data.competition import Competition
from src.ensemble.predictions import Predictions, save_predictions
from src.run.record import EnsembleResult, RowCounts
from src.run.run_folder import RunFolder
from src.train.tracking import write_history
from tests.support.run_records import RECORD, RESULT

MEMBERS = ("compact_cnn", "simple_cnn_v2")


def made_up_predictions(data: Competition, member: str, rows: np.ndarray, skill: float = 2.0) -> Predictions:
    """Random probabilities that its name decides, for these validation rows. skill: higher is more often right.

    What is hard for one member is hard for all, as with trained networks.
    """
    rng, shared = np.random.default_rng(list(member.encode())), np.random.default_rng(0)

    def probs(labels: np.ndarray) -> np.ndarray:
        noise = 0.8 * shared.normal(size=(len(labels), 7)) + 0.6 * rng.normal(size=(len(labels), 7))
        logits = noise + skill * np.eye(7)[labels]
        return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)

    header = {"member": member, "data_digest": data.digest, "recipe": "quick", "seed": 0, "fold": 0}
    return Predictions(header, rows, probs(data.train.labels[rows]), probs(rng.integers(0, 7, len(data.test))))


def made_up_history(member: str, epochs: int) -> pd.DataFrame:
    """Rows of a history as the training has them: shares from 0 to 1."""
    rng, at = np.random.default_rng(list(member.encode())), np.arange(1, epochs + 1)
    columns = {"epoch": at, "lr": 1e-3 / at}
    for part in ("train", "valid"):
        columns |= {f"{part}_loss": 2 / at + rng.random(epochs), f"{part}_accuracy": 1 - 0.8 / at**0.3}
    more = {"valid_f1": 1 - 0.85 / at**0.3, "train_seconds": 9.0, "seconds": 10.0, "member": member}
    return pd.DataFrame(columns | more)


def write_made_up_run(
    folder: Path, data: Competition, members: Sequence[str] = MEMBERS, epochs: int = 3, rows: np.ndarray | None = None
) -> Path:
    """Writes run.json, predictions and histories of these members; returns the folder.

    rows: the validation rows, int64 ascending; None: every fifth.
    """
    run, rows = RunFolder(folder), np.arange(0, len(data.train), 5) if rows is None else rows
    run.predictions("x").parent.mkdir(parents=True)
    template = recipes.get("quick").members[0]
    recipe = replace(recipes.get("quick"), members=tuple(replace(template, name=name) for name in members))
    for name in members:
        run.member(name).mkdir(parents=True)
        save_predictions(run.predictions(name), made_up_predictions(data, name, rows))
        write_history(run.history(name), made_up_history(name, epochs).to_dict("records"))
    results = dict.fromkeys(members, replace(RESULT, parameters=639079, train_seconds=12.5, precision="float32"))
    record = replace(
        RECORD,
        recipe=config.as_dict(recipe),
        data_digest=data.digest,
        rows=RowCounts(len(data.train) - len(rows), len(rows), len(data.test)),
        members=results,
        failed={},
        ensemble=EnsembleResult(list(members), 0.5, 0.4),
        files=run.digests(),
        ranks=[],
    )
    run.write_record(record)
    return folder
