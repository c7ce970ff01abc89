"""run.json is read back as it was written, and a value of another type or range is refused with its key."""

import json
from dataclasses import asdict

import pytest

from src.errors import UserError
from src.run.record import RunRecord, as_text, decode, read_record
from tests.support.run_records import RECORD

MISSING = "(the key is missing)"


def changed(*keys: str, value: object) -> dict:
    """The record as JSON gives it, with one value replaced or removed."""
    content = json.loads(json.dumps(asdict(RECORD)))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    if value is MISSING:
        del inner[keys[-1]]
    return content


def test_it_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(asdict(RECORD)))
    assert read_record(path, "") == RECORD


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("status",), 3),
        (("status",), "\x1b[2J"),
        (("status",), "x" * 501),
        (("code", "dirty"), "no"),
        (("recipe", "name"), "../../x"),
        (("recipe", "seed"), -1),
        (("recipe",), []),
        (("seconds",), 10**400),
        (("members", "../x"), {}),
        (("members", "m", "epochs"), True),
        (("members", "m", "valid_accuracy"), float("inf")),
        (("members", "m", "best_epoch"), MISSING),
        (("ensemble", "members"), [3]),
        (("files", "submission.csv"), "abc"),
        (("data_digest",), MISSING),
    ],
    ids=str,
)
def test_another_value_is_refused_and_its_key_named(tmp_path, keys, value):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(changed(*keys, value=value)))
    with pytest.raises(UserError, match=keys[-1].split("/")[-1]) as error:
        read_record(path, "try another.")
    assert str(error.value).endswith("try another.") and str(path) in str(error.value)


def test_what_a_run_writes_late_may_be_missing_and_keys_of_other_versions_are_dropped():
    for key in ("failed", "skipped", "progress", "estimate", "ensemble", "files", "ranks", "members"):
        assert decode(RunRecord, changed(key, value=MISSING)).code == RECORD.code
    assert decode(RunRecord, changed("weather", value={"a": [1]})) == RECORD


def test_a_reason_of_several_lines_can_be_recorded_and_read_back(tmp_path):
    path, reason = tmp_path / "run.json", as_text("it diverges\n\x1b[2Jlower it " + "x" * 600)
    path.write_text(json.dumps(changed("failed", "n", value=reason)))
    assert read_record(path, "").failed["n"].startswith("it diverges")
