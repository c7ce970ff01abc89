"""The leaderboard: a place agrees with the scores beside it, and a download is read or refused."""

import io
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src.errors import UserError
from src.submit.leaderboard import KNOWN, TOP_TEN, Leaderboard, place_on, read_leaderboard
from tests.support.fuzzing import edited, edits, examples, read_or_refused

BOARD = b"TeamId,TeamName,Score\n" + b"".join(b'%d,"t, %d",0.%d\n' % (i, i, 7 - i) for i in range(6))


def put(path, content: str | bytes):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("accuracy", "place", "words"),
    [
        (0.75, 1, "place 1 of 56: above RBM 71.161 %"),
        (0.71161, 2, "place 2 of 56: above Unsupervised 69.267 %, below RBM 71.161 %"),
        (0.711614, 2, "place 2"),
        (0.63, 10, "place 10 of 56: above sayit"),
        (0.6219, None, "below the 10 best of 56 teams"),
    ],
)
def test_places_among_the_ten_best(accuracy, place, words):
    found = place_on(KNOWN, accuracy)
    assert found.place == place and found.words.startswith(words)


def test_a_download_is_used(tmp_path):
    rows = [*TOP_TEN, ("NA", 0.5), ("Last, the", 0.1)]
    table = "Rank,TeamId,TeamName,Score\n" + "".join(f'1,1,"{name}",{score}\n' for name, score in reversed(rows))
    board = read_leaderboard(put(tmp_path / "a.csv", table))
    assert (board.teams, board.is_final) == (12, True)
    assert place_on(board, 0.09).words == "below all 12 teams"
    other = read_leaderboard(put(tmp_path / "b.csv", "TeamName,Score\na,.9\n"))
    assert (other.teams, other.is_final) == (1, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("TeamName\na\n", "no column Score"),
        ("TeamName,Score\n", "no rows"),
        ("TeamName,Score\na,.5\nb\n", "row 2: 1 columns"),
        ("TeamName,Score\na,.5\nb,x\n", "row 2: the score is 'x'"),
        ("TeamName,Score\na,nan\n", "row 1: the score is"),
        (zipped({"b.txt": BOARD}), "a zip with one CSV"),
        (zipped({"a.csv": BOARD, "b.csv": BOARD}), "a zip with one CSV"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_leaderboard(put(tmp_path / "board.csv", content))


def check_contract(path) -> Leaderboard | None:
    found = read_or_refused(lambda: read_leaderboard(path))
    if found:
        scores = [score for _, score in found.entries]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        assert place_on(found, 0.5).teams == len(scores) > 0
    return found


def test_a_zip_is_read_like_its_csv(tmp_path):
    plain, packed = (check_contract(put(tmp_path / "b.csv", c)) for c in (BOARD, zipped({"b.csv": BOARD})))
    assert plain == packed and plain.entries[0] == ("t, 0", 0.7)


@examples(150)
@given(st.booleans(), edits)
@example(False, [("insert", 25, b",x")])
def test_a_changed_download_is_read_or_refused(tmp_path, packed, changes):
    check_contract(put(tmp_path / "board.csv", edited(zipped({"b.csv": BOARD}) if packed else BOARD, changes)))
