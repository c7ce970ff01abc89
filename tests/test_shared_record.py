"""run.json of several ranks: none takes back what another has put there."""

import multiprocessing
import time
from pathlib import Path

from src.shared_record import Part, alone

FOUND = {"status": "running", "members": {"a": 1}, "missing": {}, "left_out": {}, "progress": {"a": 3, "b": 1}}


def test_a_rank_adds_its_own_members_and_keeps_the_others():
    own = {"status": "old", "members": {"b": 2, "a": 0}, "missing": {"c": "why"}, "progress": {"b": 9, "a": 0}}
    merged = Part({"b", "c"}).merged(own, FOUND)
    assert merged["members"] == {"a": 1, "b": 2} and merged["missing"] == {"c": "why"}
    assert merged["progress"] == {"a": 3, "b": 9} and merged["status"] == "running" and not merged["left_out"]


def test_a_rank_that_answers_for_nothing_takes_what_is_there():
    assert Part().merged({"members": {"z": 1}}, FOUND) == FOUND


def count(folder: Path, times: int) -> None:
    """Adds to a number in a file, by reading and writing it."""
    for _ in range(times):
        with alone(folder):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))


def test_one_process_at_a_time_is_in_the_folder(tmp_path):
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=count, args=(tmp_path, 20)) for _ in range(2)]
    for process in others:
        process.start()
    count(tmp_path, 20)
    for process in others:
        process.join()
    assert (tmp_path / "number").read_text() == "60"
