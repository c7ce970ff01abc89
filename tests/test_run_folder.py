"""The same run goes on, another is refused, and --overwrite deletes what a run left and nothing else."""

import json

import pytest

from src.errors import UserError
from src.run_folder import OWN, RunFolder, differences

RECORD = {
    "recipe": {"name": "small"},
    "recipe_digest": "r1",
    "data_digest": "d1",
    "source": {"digest": "s1"},
    "members": {"m": {"valid_accuracy": 0.5}},
}


def ids(recipe: str = "r1", data: str = "d1", source: str = "s1") -> dict:
    return {"recipe_digest": recipe, "data_digest": data, "source_digest": source}


OURS = ids()


@pytest.fixture
def folder(tmp_path):
    """A run that has finished a member, beside files that are not its own."""
    folder = RunFolder(tmp_path / "run")
    assert folder.claim(OURS, overwrite=False) is None
    folder.write(RECORD)
    folder.log.write_text("story")
    folder.submission.write_text("id,emotion\n")
    folder.predictions("m").write_bytes(b"npz")
    (folder.member("m") / "history.csv").write_text("epoch\n")
    for name in ("notes.txt", "faces/train.csv", "submission.csv.old"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("mine")
    return folder


def files(folder: RunFolder) -> set[str]:
    return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}


FOREIGN = {"notes.txt", "faces/train.csv", "submission.csv.old"}
RUN = {"run.json", "log.txt", "submission.csv", "predictions/m.npz", "members/m/history.csv"}


def test_the_files_of_a_run_have_their_known_places(folder):
    assert files(folder) == RUN | FOREIGN
    assert {name.split("/")[0] for name in RUN} == set(OWN)


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    assert folder.claim(OURS, overwrite=False) is None
    folder.predictions("m").write_bytes(b"")  # its room is there
    folder.write(RECORD)
    assert folder.read() == RECORD


def test_the_same_run_goes_on_and_keeps_everything(folder):
    before = files(folder)
    assert folder.claim(OURS, overwrite=False) == RECORD
    assert files(folder) == before


@pytest.mark.parametrize(
    ("digests", "found"),
    [
        (("r2", "d1"), "other settings"),
        (("r1", "d2"), "other data"),
        (("r2", "d2"), "other settings and other data"),
        (("r1", "d1", "s2"), "other sources"),
    ],
)
def test_another_run_is_refused_with_the_difference_and_nothing_is_lost(folder, digests, found):
    before = files(folder)
    with pytest.raises(UserError, match=f"recipe small with {found}") as error:
        folder.claim(ids(*digests), overwrite=False)
    assert "--overwrite" in str(error.value) and "--output" in str(error.value)
    assert files(folder) == before and folder.read() == RECORD


@pytest.mark.parametrize("digests", [("r1", "d1"), ("r2", "d2")])
def test_overwrite_deletes_the_runs_own_files_and_no_other(folder, digests):
    assert folder.claim(ids(*digests), overwrite=True) is None
    assert files(folder) == FOREIGN
    folder.predictions("m").write_bytes(b"")


def test_a_run_that_finished_no_member_gives_way_to_any_other(folder):
    folder.write(RECORD | {"members": {}})
    assert folder.claim(ids("r2", "d2"), overwrite=False) is None
    assert files(folder) == FOREIGN


def test_a_half_trained_member_does_not_give_way(folder):
    folder.write(RECORD | {"members": {}})
    (folder.member("m") / "checkpoint.pt").write_bytes(b"hours of work")
    with pytest.raises(UserError, match="other settings"):
        folder.claim(ids("r2"), overwrite=False)
    assert folder.claim(OURS, overwrite=False)["members"] == {}


def test_files_of_a_runs_names_that_no_run_left_are_not_deleted_unasked(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "thesis.npz").write_text("mine")
    with pytest.raises(UserError, match=r"predictions but no run\.json"):
        folder.claim(OURS, overwrite=False)
    assert files(folder) == {"predictions/thesis.npz"}


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        RunFolder(tmp_path / "out").claim(OURS, overwrite=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_clear_is_at_peace_with_an_empty_folder_and_with_none(tmp_path):
    RunFolder(tmp_path).clear()
    RunFolder(tmp_path / "none").clear()
    assert list(tmp_path.iterdir()) == []


def test_clear_removes_a_link_and_not_what_it_leads_to(folder, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious.npz").write_text("mine")
    RunFolder(tmp_path / "linked").path.mkdir()
    (tmp_path / "linked" / "predictions").symlink_to(kept)
    (tmp_path / "linked" / "log.txt").symlink_to(kept / "precious.npz")
    RunFolder(tmp_path / "linked").clear()
    assert list((tmp_path / "linked").iterdir()) == []
    assert (kept / "precious.npz").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"recipe": ', b"[1, 2]", b'"text"', b"null", b"\xff\xfe{}", b"{}", b'{"recipe": "x", "members": {}}'],
    ids=repr,
)
def test_a_damaged_run_json_is_refused_with_the_way_out_and_overwrite_takes_it(folder, text):
    folder.run_json.write_bytes(text)
    with pytest.raises(UserError, match=r"run\.json.*--overwrite"):
        folder.claim(OURS, overwrite=False)
    assert files(folder) == RUN | FOREIGN
    assert folder.claim(OURS, overwrite=True) is None
    assert files(folder) == FOREIGN


def test_run_json_is_read_back_as_it_was_written(folder):
    record = RECORD | {"text": "± ü", "numbers": [1, 0.1, 1e-9], "none": None, "deep": {"a": {"b": True}}}
    folder.write(record)
    assert folder.read() == record
    assert json.loads(folder.run_json.read_text(encoding="utf-8")) == record


def test_a_record_that_cannot_be_written_leaves_the_old_one(folder):
    with pytest.raises(TypeError):
        folder.write({"a": object()})
    assert folder.read() == RECORD and files(folder) == RUN | FOREIGN


def test_each_member_has_its_own_places(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.member("a").is_dir() and folder.member("a") != folder.member("b")
    assert folder.member("a") == folder.member("a")
    assert folder.predictions("a") != folder.predictions("b")
    assert folder.predictions("v1.2").name == "v1.2.npz"


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        ({}, ""),
        ({"data_digest": "x"}, "other data"),
        ({"recipe_digest": "x"}, "other settings"),
        ({"source": {"digest": "x"}}, "other sources"),
        ({"source": "x", "recipe_digest": None, "data_digest": 3}, "other settings and other data and other sources"),
    ],
)
def test_differences_are_said_in_words(earlier, words):
    assert differences(RECORD | earlier, OURS) == words
