"""The user's error: two printable lines of bounded length, whatever the file that it quotes."""

import pytest

from src.errors import UserError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a\nb", "a\nb"),
        ("a\nb\nc", "a\\nb\nc"),
        ("café × 3 – 4 …", "café × 3 – 4 …"),
        ("\x1b[2J\r\x00\u202e\udcff", r"\x1b[2J\r\x00\u202e\udcff"),
        ("x" * 3_000 + "\ny", "x" * 2_000 + "…\ny"),
        ("\x1b" * 3_000, "\\x1b" * 500 + "…"),
    ],
)
def test_a_message_is_two_printable_lines_of_a_bounded_length(message, shown):
    assert str(UserError(message)) == shown
