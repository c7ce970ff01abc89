"""Out-of-fold predictions are read from an oof.csv, a run's folder or one file; anything else is refused."""

import numpy as np
import pandas as pd
import pytest

from src.data.competition import Competition, read_competition
from src.dataset import CLASS_NAMES
from src.ensemble.out_of_fold import read_blend, read_out_of_fold
from src.ensemble.predictions import Predictions, save_predictions
from src.errors import UserError


@pytest.fixture(scope="module")
def data(faces) -> Competition:
    return read_competition(faces)


def probabilities(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(7), n).astype(np.float32)


def oof_table(data: Competition, rows: np.ndarray, probs: np.ndarray) -> pd.DataFrame:
    """An oof.csv's content."""
    start = pd.DataFrame({"row": rows, "label": data.train.labels[rows], "fold": rows % 5})
    return start.join(pd.DataFrame(probs, columns=CLASS_NAMES))


def save_fold(data: Competition, folder, name: str, rows: np.ndarray, probs: np.ndarray, digest: str = "") -> None:
    """A member's predictions file in a run's folder."""
    (folder / "predictions").mkdir(exist_ok=True)
    header = {"member": name, "data_digest": digest or data.digest}
    test = probabilities(len(data.test), len(rows))
    save_predictions(folder / "predictions" / f"{name}.npz", Predictions(header, rows, probs, test))


def test_a_table_is_read_by_row_in_any_order_and_other_columns_do_not_matter(data, tmp_path):
    rows, probs = np.random.default_rng(1).permutation(300)[:280], probabilities(280)
    content = oof_table(data, rows, probs).assign(seed=3)
    content.to_csv(tmp_path / "oof.csv", index=False)
    for path in (tmp_path, tmp_path / "oof.csv"):
        found = read_out_of_fold(path, data)
        np.testing.assert_allclose(found[rows], probs, rtol=1e-6)
        assert np.isnan(found[np.setdiff1d(np.arange(300), rows)]).all() and found.dtype == np.float32


def test_the_folds_of_a_run_are_joined_and_rows_that_two_members_predicted_have_their_mean(data, tmp_path):
    first, second = np.arange(0, 200), np.arange(150, 300)
    one, two = probabilities(200, 1), probabilities(150, 2)
    save_fold(data, tmp_path, "a", first, one)
    save_fold(data, tmp_path, "b", second, two)
    found = read_out_of_fold(tmp_path, data)
    np.testing.assert_allclose(found[:150], one[:150], rtol=1e-6)
    np.testing.assert_allclose(found[150:200], (one[150:] + two[:50]) / 2, rtol=1e-5)
    np.testing.assert_allclose(found[200:], two[50:], rtol=1e-6)
    alone = read_out_of_fold(tmp_path / "predictions" / "b.npz", data)
    assert np.isnan(alone[:150]).all() and not np.isnan(alone[150:]).any()
    assert read_blend(tmp_path, data).test.shape == (80, 7)


def changed(content: pd.DataFrame, what: str) -> pd.DataFrame:
    if what == "column":
        return content.drop(columns="Fear")
    key, row, value = {
        "label": ("label", 7, 1 - content.label[7].clip(0, 1)),
        "twice": ("row", 3, content.row[4]),
        "negative": ("row", 3, -1),
        "beyond": ("row", 3, 300),
        "sum": ("Sad", 5, 2.0),
        "nan": ("Sad", 5, np.nan),
        "text": ("Sad", 5, "much"),
    }[what]
    content = content.astype({key: object})
    content.loc[row, key] = value
    return content


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("column", "no out-of-fold predictions of this kit .*Fear"),
        ("label", "row 7 has label .*; the data has .*other data"),
        ("twice", "line 6: a repeated row"),
        ("negative", "line 5: a repeated row, or no probabilities"),
        ("beyond", "predicts row 300; the training data has 300 rows"),
        ("sum", "line 7: .*no probabilities"),
        ("nan", "line 7: .*no probabilities"),
        ("text", "no out-of-fold predictions of this kit .*much"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_place(data, tmp_path, what, message):
    path, rows = tmp_path / "oof.csv", np.arange(300)
    content = changed(oof_table(data, rows, probabilities(300)), what)
    if what == "beyond":  # its label is that of the last row
        content.loc[3, "label"] = data.train.labels[299]
    content.to_csv(path, index=False)
    with pytest.raises(UserError, match=message) as error:
        read_out_of_fold(path, data)
    assert str(path) in str(error.value) and len(str(error.value).splitlines()) <= 2


def test_what_is_no_prediction_and_predictions_of_other_data_are_refused(data, tmp_path):
    with pytest.raises(UserError, match="no predictions there"):
        read_out_of_fold(tmp_path, data)
    (tmp_path / "other.bin").write_bytes(b"x" * 99)
    with pytest.raises(UserError, match="not a predictions file"):
        read_out_of_fold(tmp_path / "other.bin", data)
    save_fold(data, tmp_path, "a", np.arange(300), probabilities(300), digest="0" * 16)
    with pytest.raises(UserError, match="made from other data"):
        read_out_of_fold(tmp_path, data)
