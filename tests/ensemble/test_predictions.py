"""The predictions file: it is read back as it was written, and every fault is refused with the file's name."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.errors import UserError
from tests.support.fuzzing import edited, edits, examples, read_or_refused

ARRAYS = ("classes", "rows", "split", "probs", "header")
HEADER = {"member": "m", "data_digest": "d1", "seed": 3, "note": "ü"}
VALID_ROWS = np.array([2, 5, 11])


def probs(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(7), rows).astype(np.float32)


@pytest.fixture(scope="module")
def made() -> Predictions:
    return Predictions(HEADER, VALID_ROWS, probs(3), probs(4, seed=1))


@pytest.fixture
def path(tmp_path, made):
    """A valid file."""
    save_predictions(tmp_path / "member.npz", made)
    return tmp_path / "member.npz"


def arrays_of(path) -> dict:
    with np.load(path) as file:
        return dict(file)


def change(path, **new) -> None:
    """Replaces some arrays of the file; None removes an array."""
    with np.load(path, allow_pickle=False) as file:
        kept = {key: file[key] for key in file.files if key not in new}
    np.savez(path, **kept, **{key: value for key, value in new.items() if value is not None})


def refused(path, message: str, **demands) -> None:
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: .*{message}"):
        load_predictions(path, **demands)


def same(one: Predictions, other: Predictions) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("valid_rows", "valid", "test")]
    return one.header == other.header and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_saved_predictions_are_read_back_bit_for_bit(path, made):
    assert same(load_predictions(path), made)
    assert same(load_predictions(path, data_digest="d1", test_rows=4), made)


def test_the_file_describes_itself(path):
    held = arrays_of(path)
    assert set(held) == set(ARRAYS)
    assert held["classes"].tolist() == ["Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"]
    assert held["rows"].tolist() == [2, 5, 11, 0, 1, 2, 3] and held["rows"].dtype == np.int64
    assert held["split"].tolist() == ["valid"] * 3 + ["test"] * 4
    assert held["probs"].shape == (7, 7) and held["probs"].dtype == np.float32
    assert json.loads(str(held["header"])) == HEADER


def test_rows_of_any_order_are_sorted(path, made):
    order = np.random.default_rng(0).permutation(7)
    change(path, **{key: arrays_of(path)[key][order] for key in ("rows", "split", "probs")})
    assert same(load_predictions(path), made)


def test_a_file_without_validation_rows_is_valid(tmp_path, made):
    alone = Predictions(HEADER, np.empty(0, np.int64), np.empty((0, 7), np.float32), made.test)
    save_predictions(tmp_path / "a.npz", alone)
    assert same(load_predictions(tmp_path / "a.npz"), alone)


def test_missing_files_folders_and_other_data_are_refused(path, tmp_path):
    refused(tmp_path / "none.npz", "cannot be read")
    refused(tmp_path, "regular file")
    refused(path, "d1, here d2", data_digest="d2")
    for count in (0, 3, 5):
        refused(path, f"4 test rows; the test data has {count}", test_rows=count)


HEADER_WITHOUT_DIGEST = json.dumps({"member": "m"})
GOOD_ROWS, GOOD_PROBS = np.r_[VALID_ROWS, np.arange(4)], np.full((7, 7), 1 / 7, np.float32)
EXPECTED = "expected rows int64"
WRONG = {
    "a valid row twice": ({"rows": np.array([2, 2, 11, 0, 1, 2, 3])}, "valid row 2 is negative or occurs twice"),
    "a test row twice": ({"rows": np.array([2, 5, 11, 0, 1, 1, 3])}, "test row 2 is missing, or the one before"),
    "a test row missing": ({"rows": np.array([2, 5, 11, 0, 1, 2, 4])}, "test row 3 is missing"),
    "a negative row": ({"rows": np.array([2, -1, 11, 0, 1, 2, 3])}, "valid row -1 is negative or"),
    "rows of 32 bits": ({"rows": GOOD_ROWS.astype(np.int32)}, EXPECTED),
    "rows in two dimensions": ({"rows": GOOD_ROWS[:, None], "split": np.full((7, 1), "valid")}, EXPECTED),
    "a split of numbers": ({"split": np.zeros(7)}, "split must be|" + EXPECTED),
    "another split": ({"split": np.array(["valid"] * 3 + ["train"] + ["test"] * 3)}, "split .* entry 3 is neither"),
    "probabilities of 64 bits": ({"probs": GOOD_PROBS.astype(np.float64)}, EXPECTED),
    "six classes": ({"probs": np.full((7, 6), 1 / 6, np.float32)}, EXPECTED),
    "classes in another order": ({"classes": np.array(list("ABCDEFG"))}, "other classes than Angry, Disgust"),
    "no JSON": ({"header": np.array("not JSON")}, "or damaged"),
    "no data digest": ({"header": np.array(HEADER_WITHOUT_DIGEST)}, "lacks the text data_digest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_breaks_the_contract_is_refused(path, name):
    arrays, message = WRONG[name]
    change(path, **arrays)
    refused(path, message)


@pytest.mark.parametrize(
    "row",
    [[np.nan] + [1 / 6] * 6, [np.inf] + [0] * 6, [1.5, -0.5] + [0] * 5, [0.2] * 7, [0] * 7, [0.998] + [0] * 6],
    ids=["nan", "infinite", "negative", "sum 1.4", "sum 0", "sum 0.998"],
)
def test_a_row_that_does_not_hold_probabilities_is_named(path, row):
    broken = arrays_of(path)["probs"]
    broken[4] = row
    change(path, probs=broken)
    refused(path, "test row 1 does not hold probabilities")


class Trap:
    """Fails the test when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("an object was unpickled",))


@pytest.mark.parametrize("key", ARRAYS)
def test_a_missing_array_and_a_pickled_object_are_refused_and_nothing_is_unpickled(path, key):
    change(path, **{key: np.array([Trap()] * 7, dtype=object)})
    refused(path, "not a predictions file, or damaged")
    change(path, **{key: None})
    refused(path, f"not a predictions file, or damaged.*{key}")


def test_a_file_above_the_size_limits_is_refused(path):
    with path.open("r+b") as file:
        file.truncate(16_000_001)
    refused(path, "larger than 16,000,000 bytes")
    np.savez_compressed(path, **dict.fromkeys(ARRAYS, np.zeros(1_000_000)))
    refused(path, "more than 32,000,000 bytes")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"header": {}}, "the header lacks"),
        ({"valid_rows": np.array([2, 2, 3])}, "valid row 2 is negative or occurs twice"),
        ({"valid_rows": VALID_ROWS[:2]}, "expected rows int64"),
        ({"test": np.zeros((4, 7))}, "test row 0 does not hold probabilities"),
    ],
    ids=["header", "rows", "shape", "probabilities"],
)
def test_wrong_predictions_are_not_saved_and_the_old_file_stays(path, made, broken, message):
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        save_predictions(path, Predictions(**(vars(made) | broken)))
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == ["member.npz"]


def check_contract(path) -> Predictions | None:
    """Loads a file, or sees it refused. What is loaded keeps the contract."""
    found = read_or_refused(lambda: load_predictions(path))
    if found:
        both = np.concatenate([found.valid, found.test])
        assert found.valid.shape == (len(found.valid_rows), 7) and both.dtype == np.float32
        assert (np.diff(found.valid_rows) > 0).all() and (found.valid_rows >= 0).all()
        assert (both >= 0).all() and (np.abs(both.sum(1) - 1) < 2e-3).all()
    return found


@examples(100)
@given(changes=edits)
def test_changed_bytes_are_refused_or_change_nothing(tmp_path, made, changes):
    path = tmp_path / "member.npz"
    save_predictions(path, made)
    path.write_bytes(edited(path.read_bytes(), changes))
    if found := check_contract(path):
        assert same(found, made)


@examples(100)
@given(key=st.sampled_from(ARRAYS), changes=edits)
def test_changed_arrays_with_a_right_checksum_keep_the_contract(tmp_path, made, key, changes):
    path = tmp_path / "member.npz"
    save_predictions(path, made)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, edited(data, changes) if name == f"{key}.npy" else data)
    check_contract(path)
