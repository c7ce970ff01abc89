"""Small files by chance: run.json, history and settings, read or refused.

tests/support/fuzzing.py says how to try more.
"""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src import config, recipes
from src.run.finish import percent
from src.run.folder import RunFolder
from src.run.record import RunIdentity, RunRecord
from tests.support.fuzzing import edited, edits, examples, read_or_refused
from tools import record


def put(folder, name: str, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------- run.json

RUN = {
    "status": "finished",
    "code": {"digest": "0" * 16, "commit": "abc", "dirty": False},
    "recipe": config.as_dict(recipes.get("quick")),
    "config_hash": "r",
    "data_digest": "d",
    "rows": {"train": 8, "valid": 2, "test": 3},
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


def use(folder, content: bytes) -> RunRecord | None:
    """Everything that the kit does with a run.json that it finds."""
    put(folder, "run.json", content)
    found = read_or_refused(RunFolder(folder).read_record)
    if found is not None:
        found.identity.differences(RunIdentity("r", "d", "s"))
        f"{found.recipe_name} {found.status} {found.code.digest}".encode()
        assert all(percent(result).isprintable() for result in found.members.values())
        RunFolder(folder).write_record(found)
        assert RunFolder(folder).read_record() == found or "NaN" in repr(found) or "nan" in repr(found)
        finished = read_or_refused(lambda: record.read_finished(RunFolder(folder)))
        if finished is not None:
            name = record.result_name(finished)
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
    assert use(tmp_path, json.dumps(RUN).encode())
    assert use(tmp_path, json.dumps(RUN | {"recipe": RUN["recipe"] | {key: value}}).encode()) is None


def test_a_run_with_many_settings_changed_has_a_name_that_a_folder_can_bear(tmp_path):
    changed = [dict.fromkeys(member, "x" * 20) for member in RUN["recipe"]["members"]]
    assert use(tmp_path, json.dumps(RUN | {"recipe": RUN["recipe"] | {"members": changed}}).encode())


# ------------------------------------------------------------------------------- history and settings

cells = st.sampled_from(["id", "0", "1", "-0", "", " 3 ", '"', "a\nb", "9" * 5_000, "²"])
HISTORY = b"epoch,lr,train_loss\n1,0.001,1.9\n2,0.001,\n"


@examples(200)
@given(changes=edits)
@example(changes=[("overwrite", 6, b"epoch")])
def test_a_changed_history_is_read_or_refused(tmp_path, changes):
    path = put(tmp_path, "history.csv", edited(HISTORY, changes))
    found = read_or_refused(lambda: record.read_history(path))
    if found is not None:
        assert found["epoch"].str.isdecimal().all()


def test_a_history_is_kept_to_the_letter(tmp_path):
    found = record.read_history(put(tmp_path, "history.csv", HISTORY))
    assert found.to_csv(index=False).encode() == HISTORY


@examples(150)
@given(st.sampled_from(config.keys(recipes.get("quick"))), cells | st.text(max_size=5) | st.floats().map(repr))
def test_a_setting_of_any_text_is_taken_or_refused(key, text):
    recipe = read_or_refused(lambda: config.override(recipes.get("quick"), [f"{key}={text}"]))
    assert recipe is None or config.config_hash(recipe)
