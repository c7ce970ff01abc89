"""Sends a submission to the competition, where Kaggle still accepts one."""

from pathlib import Path

from kernel_metadata import COMPETITION
from remote.client import Client, KaggleError
from src.errors import UserError

INSTEAD = "`score` says what it would have scored."


def submit(client: Client, file: Path, message: str) -> str:
    """Sends `file` with a message; returns Kaggle's words.

    Raises UserError where there is no such file, KaggleError where Kaggle does not accept it: the competition ended in
    2013, and only Kaggle knows whether it accepts late submissions.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file.\n`fetch` downloads what the kernel left.")
    try:
        where = {"file": str(file.resolve()), "message": message, "competition": COMPETITION}
        answer = client.call("submit", repeats_unanswered=False, **where)
    except KaggleError as error:
        raise KaggleError(f"{str(error).splitlines()[0]}\n{INSTEAD}") from None
    except UserError as error:
        if "(403)" not in str(error):
            raise
        words = str(error).splitlines()[0]
        raise KaggleError(f"{words}\nNot joined, or no late submissions there: {INSTEAD}") from None
    if answer["failed"]:
        raise KaggleError(f"submit: the upload failed.\n{INSTEAD}")
    return answer["message"]
