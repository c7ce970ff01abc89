"""ensemble.csv: each member, each network on all folds, and each blend, on rows that they have not learnt."""

import numpy as np
import pandas as pd
import pytest

from src.data.competition import read_competition
from src.ensemble.methods import METHODS
from src.ensemble.predictions import Predictions
from src.run.record import EnsembleResult
from src.submit.score import labels_by_usage
from tools.ensemble_figures import ensemble_table, shown


@pytest.fixture(scope="module")
def data(faces):
    return read_competition(faces)


def probabilities(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Probabilities float32 (n, 7) of a network that is about as often right."""
    rng = np.random.default_rng(seed)
    chosen = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, 7, len(labels)))
    return (0.3 / 7 + 0.7 * np.eye(7)[chosen]).astype(np.float32)


def members(data, tests: np.ndarray, folds: int = 2) -> list[Predictions]:
    """Two networks on the folds of the training rows; both know the labels of the test rows."""
    found = []
    for network, name in enumerate(("a", "b")):
        for fold in range(folds):
            rows = np.arange(fold, len(data.train), folds)
            header = {"member": f"{name}-f{fold}-s0", "fold": str(fold), "seed": "0", "recipe": "r"}
            header |= {"data_digest": data.digest}
            valid = probabilities(data.train.labels[rows], 0.5 + 0.2 * network, 9 * network + fold)
            found.append(Predictions(header, rows, valid, probabilities(tests, 1, 0)))
    return found


def of(method: str, **copies: int) -> EnsembleResult:
    """A blend's figures."""
    return EnsembleResult([], 0.5, 0.4, method, **copies)


@pytest.fixture(scope="module")
def table(data, faces) -> pd.DataFrame:
    public = labels_by_usage(faces, data)["PublicTest"]
    return ensemble_table(members(data, public.clip(0)), of("log_mean"), data, faces)


def test_there_is_a_row_for_each_member_network_and_blend(table):
    assert list(table.name) == ["a-f0-s0", "a-f1-s0", "b-f0-s0", "b-f1-s0", "a-s0", "b-s0", *METHODS]
    kinds = ["member"] * 4 + ["all folds"] * 2 + ["blend"] * len(METHODS)
    kinds[7] = "blend, submitted"
    assert list(table.kind) == kinds
    assert list(table.rows) == [150] * 4 + [300] * (2 + len(METHODS))


def test_the_figures_are_those_of_the_rows(table, data, faces):
    rows = table.set_index("name")
    first = members(data, np.zeros(80, int))[0]
    right = first.valid.argmax(1) == data.train.labels[first.valid_rows]
    assert rows.accuracy["a-f0-s0"] == pytest.approx(right.mean())
    assert rows.accuracy["b-s0"] == pytest.approx((rows.accuracy["b-f0-s0"] + rows.accuracy["b-f1-s0"]) / 2)
    assert rows.gain["weights"] == pytest.approx(rows.accuracy["weights"] - rows.accuracy["mean"])
    assert rows.gain["mean"] == 0 and np.isnan(rows.gain["a-s0"])
    assert (rows.low < rows.accuracy).all() and (rows.accuracy < rows.high).all()
    assert ((rows.high - rows.low)["a-f0-s0"] > (rows.high - rows.low)["a-s0"]).all()
    assert (rows.public_test.drop("stacking") == 1).all()  # that one may hold a class for another


def test_wrong_answers_of_public_rows_count_and_others_do_not(data, faces):
    public = labels_by_usage(faces, data)["PublicTest"]
    known = np.flatnonzero(public >= 0)
    guesses = public.clip(0)
    guesses[known[:10]] = (guesses[known[:10]] + 1) % 7
    found = ensemble_table(members(data, guesses), of("mean"), data, faces)
    plain = found.set_index("name").public_test.drop("stacking")
    assert plain.to_numpy() == pytest.approx(1 - 10 / len(known))


def test_members_of_one_fold_have_no_rows_of_all_folds(data, faces):
    alone = members(data, np.zeros(80, int))[::2]
    found = ensemble_table(alone, of("mean"), data, faces)
    assert list(found.name) == ["a-f0-s0", "b-f0-s0", *METHODS]


def test_what_was_submitted_with_labels_of_copies_has_a_row_of_its_own(data, faces):
    guesses = labels_by_usage(faces, data)["PublicTest"].clip(0)
    given = members(data, guesses)[0]
    for copies, name in (({}, "labelled"), ({"near_copies": 2}, "labelled+near")):
        found = ensemble_table(members(data, guesses), of("mean", labelled_copies=3, **copies), data, faces, given)
        submitted = found[found.kind == "blend, submitted"]
        assert list(submitted.name) == [f"mean, copies {name}"] and submitted.index[0] == len(found) - 1


def test_what_the_page_shows_is_in_per_cent(table):
    rows = {row["what"]: row for row in shown(table)}
    assert rows["log_mean (blend, submitted)"]["PublicTest"] == "100.00"
    assert rows["mean (blend)"]["gain over the mean"] == rows["a-s0 (all folds)"]["gain over the mean"] == "–"
    blend = table.set_index("name").loc["weights"]
    assert rows["weights (blend)"]["accuracy"] == f"{100 * blend.accuracy:.2f}"
    assert rows["weights (blend)"]["gain over the mean"].startswith(f"{100 * blend.gain:+.2f} ± ")
