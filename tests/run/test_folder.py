"""The same run is continued, another is refused, and --overwrite deletes what a run left and nothing else."""

import pytest

from src.errors import UserError
from src.run.folder import OWN, RunFolder
from src.run.record import RunIdentity
from tests.support.run_records import RECORD, RESULT

OURS, S = RECORD.identity, "0" * 16
OTHER = RunIdentity("r2", "d2", S)


@pytest.fixture
def folder(tmp_path):
    """A run that has finished a member, beside files that are not its own."""
    folder = RunFolder(tmp_path / "a" / "run")
    assert folder.claim(OURS, overwrite=False) is None
    folder.member("m").mkdir(parents=True)
    folder.write_record(RECORD)
    folder.write_result("m", RESULT)
    for file in (folder.log, folder.submission, folder.predictions("m"), folder.history("m")):
        file.write_text("content")
    for name in ("notes.txt", "faces/train.csv", "submission.csv.old"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("mine")
    return folder


def files(folder: RunFolder) -> set[str]:
    return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}


FOREIGN = {"notes.txt", "faces/train.csv", "submission.csv.old"}
INSIDE = {"members/m/result.json", "members/m/history.csv"}
RUN = {"run.json", "log.txt", "submission.csv", "predictions/m.npz", *INSIDE}


def test_the_files_of_a_run_have_their_known_places(folder):
    assert files(folder) == RUN | FOREIGN
    assert {name.split("/")[0] for name in RUN} == set(OWN)
    assert set(folder.digests()) == RUN - {"run.json", "log.txt"}


def test_the_same_run_goes_on_and_keeps_everything(folder):
    before = files(folder)
    assert folder.claim(OURS, overwrite=False) == RECORD
    assert files(folder) == before and folder.read_results(["m", "n"]) == {"m": RESULT}


@pytest.mark.parametrize(
    ("identity", "found"),
    [
        (RunIdentity("r2", "d", S), "other settings"),
        (RunIdentity("r", "d2", S), "other data"),
        (RunIdentity("r2", "d2", "s2"), "other settings and other data and other sources"),
    ],
)
def test_another_run_is_refused_with_the_difference_and_nothing_is_lost(folder, identity, found):
    before = files(folder)
    with pytest.raises(UserError, match=f"recipe quick with {found}") as error:
        folder.claim(identity, overwrite=False)
    assert "--overwrite" in str(error.value) and "--output" in str(error.value)
    assert files(folder) == before and folder.read_record() == RECORD


@pytest.mark.parametrize("identity", [OURS, OTHER])
def test_overwrite_deletes_the_runs_own_files_and_no_other(folder, identity):
    assert folder.claim(identity, overwrite=True) is None
    assert files(folder) == FOREIGN
    folder.predictions("m").write_bytes(b"")


def test_a_half_trained_member_keeps_its_folder_and_a_run_that_has_nothing_gives_way(folder):
    folder.result("m").unlink()
    checkpoint = folder.member("m") / "checkpoint.pt"
    checkpoint.write_bytes(b"hours of work")
    with pytest.raises(UserError, match="other settings"):
        folder.claim(OTHER, overwrite=False)
    assert folder.claim(OURS, overwrite=False) == RECORD
    checkpoint.unlink()
    assert folder.claim(OTHER, overwrite=False) is None
    assert files(folder) == FOREIGN


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


def test_clear_removes_a_link_and_not_what_it_leads_to(tmp_path):
    kept, linked = tmp_path / "kept", tmp_path / "linked"
    kept.mkdir()
    linked.mkdir()
    (kept / "precious.npz").write_text("mine")
    (linked / "predictions").symlink_to(kept)
    (linked / "log.txt").symlink_to(kept / "precious.npz")
    RunFolder(linked).clear()
    assert list(linked.iterdir()) == []
    assert (kept / "precious.npz").read_text() == "mine"


@pytest.mark.parametrize("text", [b"", b"{", b'{"recipe": ', b"[1, 2]", b"null", b"\xff\xfe{}", b"{}"], ids=repr)
def test_a_damaged_run_json_is_refused_with_the_way_out_and_overwrite_takes_it(folder, text):
    folder.run_json.write_bytes(text)
    with pytest.raises(UserError, match=r"run\.json.*--overwrite"):
        folder.claim(OURS, overwrite=False)
    assert files(folder) == RUN | FOREIGN
    assert folder.claim(OURS, overwrite=True) is None
    assert files(folder) == FOREIGN
