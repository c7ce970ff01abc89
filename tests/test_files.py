"""A file is replaced whole or not at all, whatever ends the writing."""

import pytest

from src.files import replacing


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text("old")
    return path


def alone(path) -> bool:
    """Nothing but `path` is in its folder."""
    return list(path.parent.iterdir()) == [path]


def test_the_content_is_replaced_at_the_end_of_the_block_and_no_sooner(path):
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and alone(path)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_passes_and_leaves_the_old_content_and_nothing_else(path, error):
    with pytest.raises(error, match="halfway"), replacing(path) as temporary:
        temporary.write_text("half")
        raise error("halfway")
    assert path.read_text() == "old" and alone(path)


def test_a_block_that_writes_nothing_is_an_error_and_the_old_content_stays(path):
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old" and alone(path)


def test_what_a_killed_process_left_is_overwritten(path):
    with replacing(path) as left:
        left.touch()
    left.write_text("a killed process was here, and wrote much more")
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and alone(path)


def test_the_temporary_file_lies_beside_the_file_so_that_the_rename_is_atomic(path):
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary != path
        temporary.touch()
