"""Runs and blends are blended into folders that are blended again; no member counts twice, no run is overwritten."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.data import competition
from src.dataset import CLASS_NAMES
from src.ensemble.labelled_copies import label_copies
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.errors import UserError
from src.main import main
from src.run import reblend
from src.run.reblend import BlendRequest, blend_runs
from src.run.run_folder import RunFolder
from src.submit.check import check_submission
from tests.conftest import fake_bundle
from tests.support.run_records import RECORD
from tests.support.small_runs import CODE


@pytest.fixture(scope="module")
def data_digest(faces) -> str:
    return competition.read_competition(faces).digest


@pytest.fixture
def make(tmp_path, data_digest):
    """Makes the folder of a run with these members, each with random probabilities that its name decides."""

    def made(name: str, *members: str, rows=(0, 3, 7), test: int = 80, digest: str = data_digest) -> Path:
        folder = tmp_path / name
        (folder / "predictions").mkdir(parents=True)
        for member in members:
            draw = np.random.default_rng(list(member.encode())).dirichlet
            valid, tests = (draw(np.ones(7), count).astype(np.float32) for count in (len(rows), test))
            header = {"member": member, "data_digest": digest, "recipe": "quick", "seed": 3, "fold": 0}
            content = Predictions(header, np.array(rows, dtype=np.int64), valid, tests)
            save_predictions(folder / "predictions" / f"{member}.npz", content)
        return folder

    return made


def blended(faces: Path, output: Path, *runs: Path, **options) -> Path:
    blend_runs(BlendRequest([*runs], faces, output, CODE, **{"report": False} | options))
    return output


def probabilities(folder: Path) -> np.ndarray:
    (file,) = (folder / "predictions").glob("*.npz")
    return load_predictions(file).test


def finished(folder: Path) -> Path:
    """The folder of a run that has a run.json with digests."""
    run = RunFolder(folder)
    shutil.copy(next(folder.glob("predictions/*")), run.submission)
    run.write_record(replace(RECORD, files=run.digests()))
    return folder


def test_a_blend_has_a_run_json_predictions_and_a_submission_of_its_own(make, faces, tmp_path):
    two = make("two", "a", "b")
    line = blend_runs(BlendRequest([two], faces, tmp_path / "out", CODE, report=False))
    assert line.startswith("mean of 2: ") and "of 3 validation rows" in line
    record = RunFolder(tmp_path / "out").read_record()
    assert (record.status, record.blend.method, record.ensemble.members) == ("finished", "mean", ["a", "b"])
    assert [(m.name, m.recipe, m.seed, m.fold) for m in record.blend.members] == [
        ("a", "quick", "3", "0"),
        ("b", *("quick", "3", "0")),
    ]
    assert record.files == RunFolder(tmp_path / "out").digests() and len(record.files) == 4
    header = load_predictions(tmp_path / "out" / "predictions" / "blend.npz").header
    assert header["classes"] == list(CLASS_NAMES) and header["rows"] == {"valid": 3, "test": 80}
    assert header["blend"] == "mean" and [m["name"] for m in header["members"]] == ["a", "b"]
    assert header["columns"].keys() == {"classes", "rows", "split", "probs"}


def test_blends_nest_and_keep_the_members_inside(make, faces, tmp_path):
    first = blended(faces, tmp_path / "first", make("two", "a", "b"))
    second = blended(faces, tmp_path / "second", first, make("one", "c"), form="no_header")
    third = blended(faces, tmp_path / "third", make("d", "d"), second)
    expected = (probabilities(first) + probabilities(tmp_path / "one")) / 2
    np.testing.assert_allclose(probabilities(second), expected, rtol=1e-6)
    labels = check_submission(second / "submission.csv", 80).labels
    np.testing.assert_array_equal(labels, probabilities(second).argmax(1))
    assert RunFolder(third).read_record().ensemble.members == ["d", "a", "b", "c"]


def test_the_report_compares_the_blend_with_what_it_is_made_of(make, faces, tmp_path):
    rows = [*range(0, 40, 2)]
    first = blended(faces, tmp_path / "first+", make("two", "a", "b", rows=rows))
    runs = [first, make("one", "c", rows=rows)]
    for seed in (4, 5):  # the same member of runs with other seeds
        runs.append(make(f"seed{seed}", f"e{seed}", rows=rows))
        file = runs[-1] / "predictions" / f"e{seed}.npz"
        predictions = load_predictions(file)
        save_predictions(file, replace(predictions, header=predictions.header | {"member": "e", "seed": seed}))
    second = blended(faces, tmp_path / "second", *runs, report=True)
    assert {file.stem for file in (second / "blended").iterdir()} == {"first-", "c", "e-s4", "e-s5"}
    np.testing.assert_array_equal(load_predictions(second / "blended/first-.npz").test, probabilities(first))
    page = (second / "report.html").read_text("utf-8")
    assert "e-s5" in page and "blend up to this member" in page and "What is missing" not in page
    shutil.rmtree(second / "blended")
    assert main(["report", str(second), "--input", str(faces)], fake_bundle()) == 0
    assert "Their figures are in the reports of their runs." in (second / "report.html").read_text("utf-8")


def test_members_of_different_folds_are_blended_and_none_is_needed(make, faces, tmp_path):
    runs = make("one", "a", rows=(0, 3)), make("two", "b", rows=(7, 250)), make("three", "c", rows=())
    blended(faces, tmp_path / "out", *runs)
    assert load_predictions(tmp_path / "out/predictions/blend.npz").valid_rows.tolist() == [0, 3, 7, 250]
    assert "no validation rows" in blend_runs(BlendRequest([runs[2]], faces, tmp_path / "none", CODE, report=False))
    assert RunFolder(tmp_path / "none").read_record().rows.valid == 0


def test_validation_rows_that_a_run_was_trained_on_are_left_out(make, faces, tmp_path):
    run, other = finished(make("learnt", "a", rows=range(9))), make("other", "b", rows=range(4))
    record = RunFolder(run).read_record()
    RunFolder(run).write_record(replace(record, recipe=record.recipe | {"valid": "train"}))
    said = blend_runs(BlendRequest([run, other], faces, tmp_path / "out", CODE, report=False))
    assert f"{run}: its validation rows are left out, since it was trained on them" in said
    found = load_predictions(tmp_path / "out/predictions/blend.npz")
    assert found.valid_rows.tolist() == list(range(4))
    np.testing.assert_allclose(found.test, (probabilities(run) + probabilities(other)) / 2, atol=1e-6)


def test_members_without_common_rows_have_no_gain_and_no_matrix(make, faces, tmp_path, recwarn):
    runs = make("one", "a", rows=range(9)), make("two", "b", rows=range(9, 20))
    page = (blended(faces, tmp_path / "out", *runs, report=True) / "report.html").read_text("utf-8")
    assert "nan</td>" not in page and "+nan" not in page and not (tmp_path / "out/figures/disagreement.png").exists()
    assert "each predicted by members that have not trained on it" in page and not len(recwarn)


def test_copies_have_the_label_that_they_have_in_the_training_data_where_that_is_asked_for(make, faces, tmp_path):
    data, run = competition.read_competition(faces), make("run", "a", "b", rows=range(40))
    predicted, labelled = blended(faces, tmp_path / "p", run), blended(faces, tmp_path / "l", run, copies="labelled")
    expected, count = label_copies(load_predictions(predicted / "predictions/blend.npz"), data)
    np.testing.assert_array_equal(probabilities(labelled), probabilities(predicted))
    answers = check_submission(labelled / "submission.csv", 80).labels
    np.testing.assert_array_equal(answers, expected.test.argmax(1))
    assert (answers != check_submission(predicted / "submission.csv", 80).labels).any()
    records = [RunFolder(folder).read_record() for folder in (predicted, labelled)]
    assert [one.ensemble.labelled_copies for one in records] == [0, count] and count > 0
    assert records[0].config_hash != records[1].config_hash


def test_the_command_says_how_many_copies_have_their_label(make, faces, tmp_path, capsys):
    command = [
        "ensemble",
        str(make("run", "a")),
        "--input",
        str(faces),
        "--output",
        str(tmp_path / "out"),
        "--no-report",
    ]
    assert main([*command, "--copies", "labelled"], fake_bundle()) == 0
    count = RunFolder(tmp_path / "out").read_record().ensemble.labelled_copies
    assert f"{count} of 80 test images are also in the training data" in " ".join(capsys.readouterr().out.split())


def test_the_same_blend_again_is_written_again(make, faces, tmp_path):
    run = make("run", "a", "b")
    for _ in range(2):
        blended(faces, tmp_path / "out", run)
    (tmp_path / "out" / "submission.csv").unlink()
    blended(faces, tmp_path / "out", run)
    assert check_submission(tmp_path / "out" / "submission.csv", 80).rows == 80


@pytest.mark.parametrize(
    "way", ["path", "dots", "link", "copy", "renamed", "in a blend", "in two blends", "by a blend"]
)
def test_a_member_that_occurs_twice_is_refused(make, faces, tmp_path, way):
    run, other = make("run", "a", "b"), make("other", "c")
    (tmp_path / "link").symlink_to(run)
    copy = shutil.copytree(run, tmp_path / "copy")
    if way == "renamed":
        (copy / "predictions/a.npz").rename(copy / "predictions/z.npz")
        (copy / "predictions/b.npz").unlink()
    mixed = blended(faces, tmp_path / "mixed", run, other)
    runs = {
        "path": [run, run],
        "dots": [run, run / ".." / "run"],
        "link": [run, tmp_path / "link"],
        "copy": [run, copy],
        "renamed": [run, copy],
        "in a blend": [mixed, other],
        "in two blends": [mixed, blended(faces, tmp_path / "more", other)],
        "by a blend": [mixed, mixed],
    }[way]
    with pytest.raises(UserError, match=r"is the same member as one of .*it would count twice"):
        blended(faces, tmp_path / "out", *runs)
    assert not (tmp_path / "out").exists()


def test_no_output_is_taken_that_holds_anything_else(make, faces, tmp_path, capsys):
    run, done = make("run", "a"), finished(make("done", "b"))
    (tmp_path / "file").write_text("mine")
    outputs = {
        done: "holds a run of recipe quick",
        make("foreign", "c"): "holds predictions",
        run: "holds predictions",
        blended(faces, tmp_path / "blend", done): "holds another blend",
        tmp_path / "file": "is a file",
    }
    for output, words in outputs.items():
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        command = ["ensemble", str(run), "--input", str(faces), "--output", str(output), "--no-report"]
        assert main(command, fake_bundle()) == 2
        error = capsys.readouterr().err
        assert words in error and "another --output" in error.replace("a folder as", "another"), error
        assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("fault, words", [("output", "out cannot be written to"), ("example", "the test set has 80")])
def test_what_would_stop_a_blend_is_told_before_near_copies_are_searched(
    make, faces, tmp_path, monkeypatch, fault, words
):
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    if fault == "output":
        (tmp_path / "out").symlink_to(tmp_path / "nothing")
    else:
        (data / "example_submission.csv").write_text("id,emotion\n1,0\n")
    monkeypatch.setattr(reblend, "search", lambda *_: pytest.fail("it was searched"))
    with pytest.raises(UserError, match=words):
        blended(data, tmp_path / "out", make("run", "a"), copies="labelled+near")


def test_a_blend_that_is_interrupted_in_the_search_can_be_asked_for_again(make, faces, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    run, output = make("run", "a"), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reblend, "search", interrupted)
        blended(faces, output, run, copies="labelled+near")
    blended(faces, output, run, copies="labelled+near")
    assert RunFolder(output).near_copies.exists() and RunFolder(output).submission.exists()


def test_the_advice_for_a_damaged_run_is_one_that_a_blend_can_follow(make, faces, tmp_path):
    run = make("run", "a")
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match="run or fetch it again"):
        blended(faces, tmp_path / "out", run)


def test_a_run_does_not_delete_a_blend_in_its_folder(make, faces, tmp_path):
    folder = RunFolder(blended(faces, tmp_path / "out", make("run", "a")))
    with pytest.raises(UserError, match="holds a run of recipe blend with other settings"):
        folder.claim(RECORD, overwrite=False)
    assert check_submission(folder.submission, 80).rows == 80


def test_predictions_that_were_changed_since_are_refused(make, faces, tmp_path):
    done = finished(make("done", "a", "b"))
    shutil.copy(make("other", "c") / "predictions/c.npz", done / "predictions/a.npz")
    with pytest.raises(UserError, match=r"a\.npz: changed since the run wrote it"):
        blended(faces, tmp_path / "out", done)


def test_what_cannot_be_blended_is_refused_and_nothing_is_written(make, faces, tmp_path):
    run = make("run", "a", rows=(0, 299))
    for runs, options, message in (
        ([tmp_path / "nothing"], {}, "no predictions"),
        ([make("beyond", "a", rows=(0, 300))], {}, "validation row 300"),
        ([make("foreign", "a", digest="other")], {}, "other data"),
        ([make("short", "a", test=79)], {}, "79 test rows"),
        ([run], {"method": "median"}, "--blend median: choose one of mean"),
    ):
        with pytest.raises(UserError, match=message):
            blended(faces, tmp_path / "out", *runs, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("header", [{"member": "a" * 300}, {"seed": "2026/11"}], ids=["name", "seed"])
def test_a_header_that_is_no_file_name_is_written_under_another_one(make, faces, tmp_path, header):
    runs = [make("one", "a"), make("two", "b", rows=(1, 2))]
    for run in runs:
        (file,) = run.glob("predictions/*")
        found = load_predictions(file)
        save_predictions(file, replace(found, header=found.header | {"member": "m", "fold": "none"} | header))
    folder = blended(faces, tmp_path / "out", *runs)
    assert len(list((folder / "blended").iterdir())) == 2


FOREIGN = ([{"name": "my net", "digest": "x"}], None, 3, [], [3], [{}], [{"name": "a"}], [{"name": "a", "digest": 3}])


@pytest.mark.parametrize("members", [*FOREIGN, "abc"])
def test_a_header_of_another_program_makes_one_member(make, faces, tmp_path, members):
    run = make("run", "a")
    found = load_predictions(run / "predictions/a.npz")
    other = {"member": "näher/../" * 30, "members": members, "seed": {"x": "\n" * 600}}
    save_predictions(run / "predictions/a.npz", replace(found, header=found.header | other))
    record = RunFolder(blended(faces, tmp_path / "out", run)).read_record()
    assert len(record.blend.members) == 1
