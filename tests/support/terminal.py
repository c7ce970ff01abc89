"""The width of what is printed."""

WIDTH = 79


def too_wide(text: str) -> list[str]:
    """The lines over 79 columns, but for those that are one word: a path is not cut."""
    return [line for line in text.split("\n") if len(line) > WIDTH and len(line.split()) > 1]
