"""Small files by chance: submission, example, board, predictions, run.json, history and settings, read or refused.

tests/fuzzing.py says how to try more.
"""

import copy
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src import config, csv_cells, recipes, record, run_json
from src.ensemble import predictions
from src.ensemble.predictions import HEADER, Predictions
from src.errors import UserError
from src.run_folder import RunFolder, differences
from src.run_state import percent
from src.submit import check, leaderboard, write
from tests.fuzzing import edited, edits, examples, read_or_refused

LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 3])


def put(folder, name: str, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return path


# ----------------------------------------------------------------------------------------- submission

KAGGLE = b"id,emotion\n" + b"".join(b"%d,%d\n" % pair for pair in enumerate(LABELS))
HOSTS = b"".join(b"%d\n" % label for label in LABELS)
NAMED = b"emotion,image,note\r\n" + b"".join(b'%d,"a ""%d""",\r\n' % (label, i) for i, label in enumerate(LABELS))


def judge(path, example=None) -> np.ndarray | None:
    """What `check` and `read` agree on."""
    checked = read_or_refused(lambda: check.check(path, len(LABELS), example))
    found = read_or_refused(lambda: check.read(path, example))
    if checked is None:
        return None
    assert all(text.isprintable() and len(text) < 300 for text in (checked.form, *checked.warnings))
    assert found.shape == LABELS.shape and np.bincount(found, minlength=7).tolist() == list(checked.counts)
    return found


@pytest.mark.parametrize("content", [KAGGLE, HOSTS], ids=["kaggle", "hosts"])
def test_the_submission_that_is_mutated_is_read(tmp_path, content):
    np.testing.assert_array_equal(judge(put(tmp_path, "s.csv", content)), LABELS)


@examples(300)
@given(st.sampled_from([KAGGLE, HOSTS, NAMED]), edits, st.sampled_from([None, KAGGLE, NAMED]))
@example(KAGGLE, [("insert", 11, b"9" * 5_000)], None)
def test_a_changed_submission_is_read_or_refused(tmp_path, content, changes, shown):
    pattern = shown and put(tmp_path, "example_submission.csv", shown)
    judge(put(tmp_path, "s.csv", edited(content, changes)), pattern)


@pytest.mark.parametrize("content", ["id,emotion\n0,{}\n", "id,emotion\n{},0\n", "{},emotion\n0,0\n"])
def test_a_long_cell_of_escapes_is_shown_short(tmp_path, content):
    with pytest.raises(UserError, match=r"x1b") as refusal:
        check.check(put(tmp_path, "s.csv", content.format("\x1b" * 900).encode()), 1)
    assert len(str(refusal.value)) < 400


words = st.sampled_from(["id", "emotion", "Label", "0", "1", "7", "-0", "", " 3 ", '"', '"x', "a\nb", "9" * 5_000, "²"])
grids = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(words | st.text(max_size=2), min_size=width, max_size=width), max_size=5)
)


def text_of(grid: list[list[str]]) -> bytes:
    return "".join(",".join(line) + "\n" for line in grid).encode("utf-8", "replace")


@examples(200)
@given(sheet=grids, shown=st.none() | grids)
@example(sheet=[["name", "emotion"], ["a", "3"]], shown=[["name", "emotion"], ["a", "0"], ["a", "0"]])
def test_a_sheet_of_any_cells_is_read_or_refused(tmp_path, sheet, shown):
    pattern = shown and put(tmp_path, "example_submission.csv", text_of(shown))
    judge(put(tmp_path, "s.csv", text_of(sheet)), pattern or None)


def follow(folder, pattern: bytes) -> None:
    """An example that is followed gives a submission that passes the check and has its labels in their places."""
    path, written = put(folder, "example_submission.csv", pattern), folder / "submission.csv"
    if read_or_refused(lambda: write.follow(path, len(LABELS))):
        write.write(written, LABELS, path)
        np.testing.assert_array_equal(judge(written, path), LABELS)


@examples(200)
@given(st.sampled_from([KAGGLE, HOSTS, NAMED]), edits)
def test_a_changed_example_is_followed_or_refused(tmp_path, content, changes):
    follow(tmp_path, edited(content, changes))


@examples(150)
@given(st.lists(words, min_size=1, max_size=3), st.lists(words, min_size=3 * len(LABELS), max_size=3 * len(LABELS)))
def test_an_example_of_any_cells_is_followed_or_refused(tmp_path, header, texts):
    rows = [texts[3 * i : 3 * i + len(header)] for i in range(len(LABELS))]
    follow(tmp_path, text_of([header, *rows]))


# ---------------------------------------------------------------------------------------------- board

BOARD = b"TeamId,TeamName,Score\n" + b"".join(b'%d,"t, %d",0.%d\n' % (i, i, 7 - i) for i in range(6))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def board(folder, content: bytes) -> leaderboard.Leaderboard | None:
    found = read_or_refused(lambda: leaderboard.read(put(folder, "board.csv", content)))
    if found:
        scores = [score for _, score in found.entries]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        assert leaderboard.place(found, 0.5).teams == len(scores) > 0
    return found


def test_the_board_that_is_mutated_is_read(tmp_path):
    assert board(tmp_path, BOARD) == board(tmp_path, zipped({"b.csv": BOARD}))
    assert board(tmp_path, BOARD).entries[0] == ("t, 0", 0.7)


@examples(200)
@given(st.booleans(), edits)
@example(False, [("insert", 25, b",x")])
def test_a_changed_board_is_read_or_refused(tmp_path, packed, changes):
    board(tmp_path, edited(zipped({"b.csv": BOARD}) if packed else BOARD, changes))


@examples(100)
@given(grids, st.booleans())
def test_a_board_of_any_cells_is_read_or_refused(tmp_path, grid, named):
    board(tmp_path, (b"TeamName,Score\n" if named else b"") + text_of(grid))


@pytest.mark.parametrize("files", [{}, {"b.txt": BOARD}, {"a.csv": BOARD, "b.csv": BOARD}], ids=["none", "text", "two"])
def test_a_zip_without_one_table_is_refused(tmp_path, files):
    assert board(tmp_path, zipped(files)) is None


# ---------------------------------------------------------------------------------------- predictions

PAPERS = dict.fromkeys(HEADER, 0) | {"member": "m", "data_digest": "d"}


@pytest.fixture(scope="module")
def npz(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("npz") / "m.npz"
    probs = np.full((5, 7), 1 / 7, np.float32)
    predictions.save(path, Predictions(PAPERS, np.array([2, 5]), probs[:2], probs[2:]))
    return path.read_bytes()


def load(folder, content: bytes) -> Predictions | None:
    found = read_or_refused(lambda: predictions.load(put(folder, "m.npz", content), "d"))
    if found:
        assert found.valid.shape == (len(found.valid_rows), 7) and found.valid.dtype == np.float32
        assert np.isfinite(found.test).all() and (np.diff(found.valid_rows) > 0).all()
    return found


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@examples(150)
@given(changes=edits)
def test_changed_predictions_are_refused_or_do_no_harm(tmp_path, npz, changes):
    if found := load(tmp_path, edited(npz, changes)):
        assert found.valid_rows.tolist() == [2, 5]


shapes = st.lists(st.sampled_from([0, 1, 5, 7, -1, 2**31, 2**40, 2**63, 10**30, True]), max_size=3).map(tuple)
types = st.sampled_from(["<i8", "<f4", "<U5", "<U0", "|O", "<f16", "|V2000000000", "<U500000000", "|b1", ">i8", "x", 3])
headers = st.builds(lambda *values: repr(dict(zip(("descr", "fortran_order", "shape"), values, strict=True))), types,
                    st.sampled_from([False, True, 1, None]), shapes)  # fmt: skip
headers |= st.sampled_from(
    ["", "{}", "[" * 9_000, "-" * 9_000 + "1", "{'descr': '<i8'}", "1" * 9_000, "__import__('os')"]
)


@examples(150)
@given(
    st.sampled_from(["rows", "split", "probs", "header"]), headers, st.sampled_from([1, 2, 3, 9]), st.binary(max_size=9)
)
def test_an_array_that_claims_anything_is_read_or_refused(tmp_path, npz, key, header, version, rest):
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    array = b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + rest
    load(tmp_path, zipped(members_of(npz) | {f"{key}.npy": array}))


@pytest.mark.parametrize("kind", ["<i8", "|O", "<U0", "|V0"])
@pytest.mark.parametrize("rest", [0, 1, 7, 40])
def test_an_array_is_as_large_as_it_claims_or_refused(kind, rest):
    header = repr({"descr": kind, "fortran_order": False, "shape": (5,)}).encode()
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(rest)
    if (kind, rest) == ("<i8", 40):
        assert predictions._array(content).tolist() == [0] * 5
    else:
        with pytest.raises(ValueError, match="an array claims"):
            predictions._array(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_whose_decoders_have_no_bound_are_refused(tmp_path, npz, method):
    assert load(tmp_path, zipped(members_of(npz)))
    assert load(tmp_path, zipped(members_of(npz), method)) is None


# ------------------------------------------------------------------------------------------- run.json

RUN = {
    "status": "finished",
    "source": {"digest": "0" * 16, "commit": "abc", "dirty": False},
    "recipe": config.as_dict(recipes.get("quick")),
    "recipe_digest": "r",
    "data_digest": "d",
    "device": "cpu (2 threads)",
    "seconds": 9.5,
    "members": {
        "m": {"valid_accuracy": 0.5, "valid_f1": 0.5, "train_accuracy": 0.6, "best_epoch": 1, "epochs": 2}
        | {"images_per_second": 99.0}
    },
    "ensemble": {"members": ["m"], "valid_accuracy": 0.5, "valid_f1": 0.5},
}


def paths(value, prefix: tuple = ()) -> list[tuple]:
    """The way to each value inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, child in pairs for way in ((*prefix, key), *paths(child, (*prefix, key)))]


odd_values = st.sampled_from(
    [
        None,
        True,
        "",
        "x" * 600,
        "../../x",
        "/etc/passwd",
        "\x1b[2J",
        "\ud800",
        "a\0b",
        10**400,
        -1,
        1e300,
        1e999,
        [],
        {},
    ]
)
json_values = st.recursive(
    odd_values | st.floats() | st.integers() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=5,
)


def use(folder, content: bytes) -> dict | None:
    """Everything that the kit does with a run.json that it finds."""
    put(folder, "run.json", content)
    found = read_or_refused(RunFolder(folder).read)
    if found is not None:
        differences(found, {"recipe_digest": "r", "data_digest": "d", "source_digest": "s"})
        f"{found['recipe'].get('name')} {found.get('status')} {found.get('source', {}).get('digest')}".encode()
        assert all(percent(figures).isprintable() for figures in found["members"].values())
        json.dumps(found)
        if read_or_refused(lambda: run_json.need_all(found, folder / "run.json") or "all there"):
            name = record.name_of(found)
            assert name == Path(name).name and name[0] != "." and len(name) < 255 and name.isprintable()
    return found


@examples(400)
@given(st.sampled_from(paths(RUN)), json_values, st.booleans())
def test_a_run_json_with_any_value_anywhere_is_used_or_refused(tmp_path, way, value, gone):
    content = copy.deepcopy(RUN)
    place = content
    for key in way[:-1]:
        place = place[key]
    if gone:
        del place[way[-1]]
    else:
        place[way[-1]] = value
    use(tmp_path, json.dumps(content).encode())


@examples(60)
@given(name=st.text(max_size=9) | odd_values.filter(lambda value: isinstance(value, str)))
def test_a_member_of_any_name_is_taken_or_refused(tmp_path, name):
    found = use(tmp_path, json.dumps(RUN | {"members": {name: RUN["members"]["m"]}}).encode())
    assert found is None or RunFolder(tmp_path).predictions(name).parent == tmp_path / "predictions"


@examples(150)
@given(changes=edits)
def test_a_changed_run_json_is_used_or_refused(tmp_path, changes):
    use(tmp_path, edited(json.dumps(RUN).encode(), changes))


@pytest.mark.parametrize(("key", "value"), [("name", "../../x"), ("seed", "/../x"), ("name", "x/y"), ("seed", 10**30)])
def test_a_recorded_run_cannot_leave_results(tmp_path, key, value):
    assert use(tmp_path, json.dumps(RUN).encode()) == RUN
    assert use(tmp_path, json.dumps(RUN | {"recipe": RUN["recipe"] | {key: value}}).encode()) is None


@pytest.mark.parametrize("value", ["\x1b[2J", "\ud800", "x" * 501, 3])
def test_a_text_that_the_log_cannot_show_is_refused(tmp_path, value):
    assert use(tmp_path, json.dumps(RUN | {"status": value}).encode()) is None


@pytest.mark.parametrize("value", [10**400, float("inf"), "0.5", True], ids=["huge", "inf", "text", "flag"])
def test_a_figure_that_cannot_be_shown_is_refused(tmp_path, value):
    assert use(tmp_path, json.dumps(RUN | {"members": {"m": {"valid_accuracy": value}}}).encode()) is None


def test_a_run_with_many_settings_changed_has_a_name_that_a_folder_can_bear(tmp_path):
    changed = [dict.fromkeys(member, "x" * 20) for member in RUN["recipe"]["members"]]
    assert use(tmp_path, json.dumps(RUN | {"recipe": RUN["recipe"] | {"members": changed}}).encode())


@pytest.mark.parametrize("way", [way for way in paths(RUN) if way[0] not in ("recipe", "ensemble") or len(way) == 1])
def test_a_finished_run_without_a_key_is_not_recorded(tmp_path, way):
    content = copy.deepcopy(RUN)
    place = content
    for key in way[:-1]:
        place = place[key]
    del place[way[-1]]
    with pytest.raises(UserError, match=way[-1]):
        run_json.need_all(run_json.read(put(tmp_path, "run.json", json.dumps(content).encode()), "."), tmp_path)


@pytest.mark.parametrize("depth", [19, 20, 900, 100_000])
def test_json_of_any_depth_is_used_or_refused(tmp_path, depth):
    found = use(tmp_path, json.dumps(RUN)[:-1].encode() + b', "deep": ' + b"[" * depth + b"]" * depth + b"}")
    assert (found is not None) == (depth < 20)


# ------------------------------------------------------------------------------- history and settings

HISTORY = b"epoch,lr,train_loss\n1,0.001,1.9\n2,0.001,\n"


@examples(200)
@given(changes=edits)
@example(changes=[("put over", 6, b"epoch")])
def test_a_changed_history_is_read_or_refused(tmp_path, changes):
    path = put(tmp_path, "history.csv", edited(HISTORY, changes))
    found = read_or_refused(lambda: record.read_history(path))
    if found is not None:
        assert found["epoch"].str.isdecimal().all()


def test_a_history_is_kept_to_the_letter(tmp_path):
    found = record.read_history(put(tmp_path, "history.csv", HISTORY))
    assert found.to_csv(index=False).encode() == HISTORY


@examples(150)
@given(st.sampled_from(config.keys(recipes.get("quick"))), words | st.text(max_size=5) | st.floats().map(repr))
def test_a_setting_of_any_text_is_taken_or_refused(key, text):
    recipe = read_or_refused(lambda: config.override(recipes.get("quick"), [f"{key}={text}"]))
    assert recipe is None or config.config_hash(recipe)


def test_the_bound_of_small_csv_files_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_cells, "LIMIT", len(KAGGLE))
    assert judge(put(tmp_path, "s.csv", KAGGLE)) is not None
    assert judge(put(tmp_path, "s.csv", KAGGLE + b"\n")) is None
