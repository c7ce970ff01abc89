"""run.json with any value anywhere: it is read and used, or refused with a message."""

import copy
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.run.finish import describe_accuracy
from src.run.record import RunRecord
from src.run.run_folder import RunFolder
from tests.support.fuzzing import edited, edits, examples, read_or_refused
from tests.support.run_records import RECORD
from tools import record

RUN = asdict(RECORD)


def key_paths(value, prefix: tuple = ()) -> list[tuple]:
    """The keys that lead to each value inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, child in pairs for path in ((*prefix, key), *key_paths(child, (*prefix, key)))]


texts = st.sampled_from(["", "x" * 600, "../../x", "/etc/passwd", "\x1b[2J", "\ud800", "a\0b"])
values = texts | st.sampled_from([None, True, 10**400, -1, 1e300, 1e999, [], {}])
json_values = st.recursive(
    values | st.floats() | st.integers() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=5,
)


def use(folder: Path, content: bytes) -> RunRecord | None:
    """Uses a run.json as the kit does: compares, prints, writes and records it."""
    run = RunFolder(folder)
    run.record_file.write_bytes(content)
    found = read_or_refused(run.read_record)
    if found is not None:
        RECORD.differences(found)
        f"{found.recipe_name} {found.status} {found.code.digest}".encode()
        assert all(describe_accuracy(result).isprintable() for result in found.members.values())
        assert all(run.predictions(name).parent == folder / "predictions" for name in found.members)
        run.write_record(found)
        assert run.read_record() == found or "nan" in repr(found)
        finished = read_or_refused(lambda: record.read_finished(run))
        if finished is not None:
            name = record.result_name(finished)
            assert name == Path(name).name and name[0] != "." and len(name) < 255 and name.isprintable()
    return found


@examples(250)
@given(st.sampled_from(key_paths(RUN)), json_values, st.booleans())
def test_any_value_anywhere(tmp_path, path, value, missing):
    content = copy.deepcopy(RUN)
    place = content
    for key in path[:-1]:
        place = place[key]
    if missing:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    use(tmp_path, json.dumps(content).encode())


@examples(60)
@given(name=st.text(max_size=9) | texts)
def test_a_member_of_any_name(tmp_path, name):
    use(tmp_path, json.dumps(RUN | {"members": {name: RUN["members"]["m"]}}).encode())


@examples(100)
@given(changes=edits)
def test_a_mutated_file(tmp_path, changes):
    use(tmp_path, edited(json.dumps(RUN).encode(), changes))


@pytest.mark.parametrize(("key", "value"), [("name", "../../x"), ("seed", "/../x"), ("name", "x/y"), ("seed", 10**30)])
def test_a_recorded_run_cannot_leave_results(tmp_path, key, value):
    assert use(tmp_path, json.dumps(RUN).encode())
    assert use(tmp_path, json.dumps(RUN | {"recipe": RUN["recipe"] | {key: value}}).encode()) is None


def test_a_run_with_many_settings_changed_has_a_result_name_of_a_valid_length(tmp_path):
    changed = [dict.fromkeys(member, "x" * 20) for member in RUN["recipe"]["members"]]
    assert use(tmp_path, json.dumps(RUN | {"recipe": RUN["recipe"] | {"members": changed}}).encode())
