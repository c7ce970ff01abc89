"""The predictions file: read back as it was written, and refused by name for every fault that can be thought of."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from src.ensemble import predictions
from src.ensemble.predictions import HEADER, Predictions, load, save
from src.errors import UserError

ARRAYS = ("rows", "split", "probs", "header")
PAPERS = {key: f"the {key}" for key in HEADER} | {"seed": 3, "fold": 0, "seconds": 12.5, "data_digest": "d1"}
VALID_ROWS = np.array([2, 5, 11])


def probs(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(7), rows).astype(np.float32)


@pytest.fixture
def made():
    return Predictions(PAPERS, VALID_ROWS, probs(3), probs(4, seed=1))


@pytest.fixture
def path(tmp_path, made):
    """A file in good order."""
    save(tmp_path / "member.npz", made)
    return tmp_path / "member.npz"


def content(path) -> dict:
    with np.load(path) as file:
        return dict(file)


def change(path, **new) -> None:
    """The file with some of its arrays replaced, and without those that are None."""
    np.savez(path, **{key: value for key, value in (content(path) | new).items() if value is not None})


def refused(path, message: str, **demands) -> None:
    """The file is refused by its name, with a message that holds `message`."""
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: .*{message}"):
        load(path, **demands)


# --- there and back -------------------------------------------------------------------------------------------------


def same(one: Predictions, other: Predictions) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("valid_rows", "valid", "test")]
    return one.header == other.header and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_what_is_saved_is_read_back_to_the_bit(path, made):
    assert same(load(path), made)
    assert same(load(path, data_digest="d1", test_rows=4), made)


def test_the_file_holds_what_the_contract_says(path):
    held = content(path)
    assert set(held) == set(ARRAYS)
    assert held["rows"].tolist() == [2, 5, 11, 0, 1, 2, 3] and held["rows"].dtype == np.int64
    assert held["split"].tolist() == ["valid"] * 3 + ["test"] * 4
    assert held["probs"].shape == (7, 7) and held["probs"].dtype == np.float32
    assert json.loads(str(held["header"])) == PAPERS


@pytest.mark.parametrize("seed", range(5))
def test_the_reader_sorts_by_row_whatever_the_order(path, made, seed):
    order = np.random.default_rng(seed).permutation(7)
    change(path, **{key: content(path)[key][order] for key in ("rows", "split", "probs")})
    assert same(load(path), made)


def test_a_member_without_validation_rows_is_possible(tmp_path, made):
    alone = Predictions(PAPERS, np.empty(0, np.int64), np.empty((0, 7), np.float32), made.test)
    save(tmp_path / "a.npz", alone)
    assert same(load(tmp_path / "a.npz"), alone)


def test_more_keys_in_the_header_are_kept(tmp_path, made):
    more = Predictions(PAPERS | {"note": "ü"}, made.valid_rows, made.valid, made.test)
    save(tmp_path / "a.npz", more)
    assert load(tmp_path / "a.npz").header["note"] == "ü"


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.npz", "cannot be read")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path, "no regular file")


def test_other_data_is_refused_with_both_digests(path):
    refused(path, "d1, here d2", data_digest="d2")


@pytest.mark.parametrize("count", [0, 3, 5])
def test_another_number_of_test_rows_is_refused(path, count):
    refused(path, f"4 test rows, and the test data has {count}", test_rows=count)


@pytest.mark.parametrize("at", [3, 4, 5])
def test_a_missing_test_row_is_named(path, at):
    change(path, **{key: np.delete(content(path)[key], at, axis=0) for key in ("rows", "split", "probs")})
    refused(path, f"test row {at - 3} is missing")


@pytest.mark.parametrize(("at", "name"), [(1, "valid row 5"), (4, "test row 1")])
def test_a_doubled_row_is_named(path, at, name):
    change(path, **{key: np.insert(value, 0, value[at], axis=0) for key, value in content(path).items() if value.ndim})
    refused(path, f"{name} is there twice")


@pytest.mark.parametrize("row", [-1, -5])
def test_a_negative_row_is_refused(path, row):
    """It would silently be counted from the end of the training data."""
    change(path, rows=np.array([2, row, 11, 0, 1, 2, 3]))
    refused(path, f"valid row {row}")


@pytest.mark.parametrize("key", HEADER)
def test_a_missing_header_key_is_named(path, key):
    change(path, header=np.array(json.dumps({k: v for k, v in PAPERS.items() if k != key})))
    refused(path, f"the header lacks {key}$")


@pytest.mark.parametrize("text", ["", "{", "not JSON", "[" * 100_000, json.dumps(PAPERS)[:-1]], ids=lambda t: t[:8])
def test_a_header_that_is_not_json_is_refused(path, text):
    change(path, header=np.array(text))
    refused(path, "the header is not JSON")


@pytest.mark.parametrize("value", [[1], "text", 3, None], ids=repr)
def test_a_header_that_is_no_object_is_refused(path, value):
    change(path, header=np.array(json.dumps(value)))
    refused(path, "the header lacks recipe")


@pytest.mark.parametrize("key", ARRAYS)
def test_a_missing_array_is_named(path, key):
    change(path, **{key: None})
    refused(path, f"not a predictions file, or damaged.*{key}")


GOOD_ROWS, GOOD_PROBS = np.r_[VALID_ROWS, np.arange(4)], np.full((7, 7), 1 / 7, np.float32)
UNFIT = {
    "rows of 32 bits": {"rows": GOOD_ROWS.astype(np.int32)},
    "rows as floats": {"rows": GOOD_ROWS.astype(float)},
    "rows as text": {"rows": GOOD_ROWS.astype(str)},
    "one number for all rows": {"rows": np.int64(7)},
    "rows in two dimensions": {"rows": GOOD_ROWS[:, None], "split": np.full((7, 1), "valid")},
    "a row too few": {"rows": GOOD_ROWS[:-1]},
    "a split too few": {"split": np.array(["valid"] * 6)},
    "a split of records": {"split": np.zeros(7, dtype=[("a", "i4"), ("b", "f4")])},
    "probabilities of 64 bits": {"probs": GOOD_PROBS.astype(np.float64)},
    "probabilities of 16 bits": {"probs": GOOD_PROBS.astype(np.float16)},
    "classes as integers": {"probs": np.eye(7, dtype=np.int64)},
    "six classes": {"probs": np.full((7, 6), 1 / 6, np.float32)},
    "a probability a row": {"probs": np.ones(7, np.float32)},
    "a probability too many": {"probs": np.full((8, 7), 1 / 7, np.float32)},
}


@pytest.mark.parametrize("name", UNFIT)
def test_arrays_of_another_type_or_shape_are_refused(path, name):
    change(path, **UNFIT[name])
    refused(path, "do not fit the contract")


@pytest.mark.parametrize("split", ["train", "Test", ""])
def test_another_split_is_named(path, split):
    change(path, split=np.array(["valid"] * 3 + [split] + ["test"] * 3))
    refused(path, f"split must be valid or test, not .*'{split}'")


@pytest.mark.parametrize(
    "row",
    [
        [np.nan] + [1 / 6] * 6,
        [np.inf] + [0] * 6,
        [1.5, -0.5] + [0] * 5,
        [0.2] * 7,
        [0] * 7,
        [-1 / 7] * 7,
        [0.998] + [0] * 6,
    ],
    ids=["nan", "infinite", "negative", "sum 1.4", "sum 0", "sum -1", "sum 0.998"],
)
def test_a_row_that_does_not_hold_probabilities_is_named(path, row):
    broken = content(path)["probs"]
    broken[4] = row
    change(path, probs=broken)
    refused(path, "test row 1 does not hold probabilities")


def test_rounding_in_the_sum_is_allowed(path):
    near = content(path)["probs"] * np.float32(1.0005)
    change(path, probs=near)
    assert np.array_equal(load(path).valid, near[:3])


class Trap:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("an object was unpickled",))


@pytest.mark.parametrize("key", ARRAYS)
def test_a_pickled_object_is_refused_and_not_loaded(path, key):
    change(path, **{key: np.array([Trap()] * 7, dtype=object)})
    refused(path, "not a predictions file, or damaged")


def test_an_npy_file_is_refused(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    refused(path, "not a predictions file")


def test_an_archive_of_other_files_is_refused(path):
    with zipfile.ZipFile(path, "w") as file:
        for key in ARRAYS:
            file.writestr(key, "1,2,3")
    refused(path, "not a predictions file")


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_a_truncated_file_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "not a predictions file")


# --- saving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"header": {}}, "the header lacks"),
        ({"valid_rows": np.array([2, 2, 3])}, "valid row 2 is there twice"),
        ({"valid_rows": VALID_ROWS[:2]}, "do not fit the contract"),
        ({"valid": np.full((3, 7), np.nan)}, "valid row 2 does not hold probabilities"),
        ({"test": np.zeros((4, 7))}, "test row 0 does not hold probabilities"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_a_reader_would_refuse_is_not_saved_and_the_old_file_stays(path, made, broken, message):
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        save(path, Predictions(**(vars(made) | broken)))
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == ["member.npz"]


def test_a_save_that_fails_half_way_leaves_the_old_file(path, made, monkeypatch):
    before = path.read_bytes()

    def half(file, **_):
        file.write(before[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(predictions.np, "savez", half)
    with pytest.raises(OSError, match="no space"):
        save(path, made)
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == ["member.npz"]


# --- bytes by chance ------------------------------------------------------------------------------------------------

by_chance = settings(max_examples=200, deadline=None, database=None)
changes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


class Good:
    """Predictions, the bytes of their file, and a path to write changed ones to."""

    def __init__(self, folder):
        self.path = folder / "member.npz"
        self.predictions = Predictions(PAPERS, VALID_ROWS, probs(3), probs(4, seed=1))
        save(self.path, self.predictions)
        self.bytes = self.path.read_bytes()

    def change(self, **new) -> None:
        self.path.write_bytes(self.bytes)
        change(self.path, **new)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Good(tmp_path_factory.mktemp("good"))


def changed(data: bytes, where: list[tuple[int, int]]) -> bytes:
    new = bytearray(data)
    for at, value in where:
        new[at % len(new)] = value
    return bytes(new)


def keeps_the_contract(path) -> bool:
    """Whether the file is read, and then as the contract says; anything but a UserError is raised on."""
    try:
        read = load(path)
    except UserError:
        return False
    both = np.concatenate([read.valid, read.test])
    assert set(HEADER) <= set(read.header)
    assert read.valid.shape == (len(read.valid_rows), 7) and both.dtype == np.float32
    assert (np.diff(read.valid_rows) > 0).all() and (read.valid_rows >= 0).all()
    assert (both >= 0).all() and (np.abs(both.sum(1) - 1) < 2e-3).all()
    return True


@by_chance
@given(start=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\x00", b"\x80\x04"]), rest=st.binary())
def test_random_bytes_are_refused(good, start, rest):
    good.path.write_bytes(start + rest)
    with pytest.raises(UserError):
        load(good.path)


@by_chance
@given(where=changes)
def test_changed_bytes_are_refused_or_do_no_harm(good, where):
    good.path.write_bytes(changed(good.bytes, where))
    if keeps_the_contract(good.path):
        assert same(load(good.path), good.predictions)


@by_chance
@given(key=st.sampled_from(ARRAYS), where=changes)
def test_changed_bytes_under_a_right_checksum_never_break_the_contract(good, key, where):
    with zipfile.ZipFile(io.BytesIO(good.bytes)) as old, zipfile.ZipFile(good.path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, changed(data, where) if name == f"{key}.npy" else data)
    keeps_the_contract(good.path)


@pytest.mark.filterwarnings("ignore:Stored array in format")
@by_chance
@given(
    key=st.sampled_from(ARRAYS),
    value=arrays.arrays(
        st.one_of(arrays.scalar_dtypes(), arrays.array_dtypes()), arrays.array_shapes(min_dims=0, max_side=7)
    ),
)
def test_arrays_of_any_type_and_shape_never_break_the_contract(good, key, value):
    good.change(**{key: value})
    keeps_the_contract(good.path)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(HEADER) | st.text(max_size=5), some),
    max_leaves=12,
)


@by_chance
@given(value=json_values)
def test_a_header_of_any_json_never_breaks_the_contract(good, value):
    good.change(header=np.array(json.dumps(value)))
    keeps_the_contract(good.path)
