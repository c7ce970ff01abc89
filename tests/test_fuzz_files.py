"""Small files by chance: run.json, history and settings, read or refused.

tests/fuzzing.py says how to try more.
"""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src import config, recipes, run_json
from src.errors import UserError
from src.run_folder import RunFolder, differences
from src.run_state import percent
from tests.support.fuzzing import edited, edits, examples, read_or_refused
from tools import record


def put(folder, name: str, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return path


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


# ------------------------------------------------------------------------------- history and settings

cells = st.sampled_from(["id", "0", "1", "-0", "", " 3 ", '"', "a\nb", "9" * 5_000, "²"])
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
@given(st.sampled_from(config.keys(recipes.get("quick"))), cells | st.text(max_size=5) | st.floats().map(repr))
def test_a_setting_of_any_text_is_taken_or_refused(key, text):
    recipe = read_or_refused(lambda: config.override(recipes.get("quick"), [f"{key}={text}"]))
    assert recipe is None or config.config_hash(recipe)
