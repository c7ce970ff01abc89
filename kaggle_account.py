"""The account that the Kaggle client would use: its name, where the client looks for it, and what is wrong there.

The client takes an access token first, then a name with a key (KAGGLE_USERNAME and KAGGLE_KEY, or kaggle.json), then
its login. It says nothing about a file that it cannot read. Standard library only: build.py uses it.
"""

import ast
import codecs
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

KEY_PAGE = "https://www.kaggle.com/settings/api"
TOKEN_FILES = ("access_token", "access_token.txt")  # below ~/.kaggle
CLIENT_SECONDS = 30  # for the client to ask Kaggle for a token's name
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
KEY_FORM = '{"username": "NAME", "key": "KEY"}'

# Where the client looks ---------------------------------------------------------------------------------------------


def dot_kaggle() -> Path | None:
    """The folder ~/.kaggle; None for a user without a home folder."""
    try:
        return Path.home() / ".kaggle"
    except RuntimeError:  # HOME is not set, and the user's number has no entry in /etc/passwd
        return None


def config_folder() -> Path | None:
    """Where the client looks for kaggle.json: KAGGLE_CONFIG_DIR, ~/.kaggle, or else, on Linux, the XDG folder."""
    if os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(os.environ["KAGGLE_CONFIG_DIR"])
    old = dot_kaggle()
    if old is None or os.access(old, os.F_OK) or not sys.platform.startswith("linux"):
        return old
    return Path(os.environ.get("XDG_CONFIG_HOME") or old.parent / ".config") / "kaggle"


def client_file(path: Path | None) -> dict:
    """One of the client's JSON files; empty where it is not there or cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path else {}
    except (OSError, ValueError, TypeError):
        return {}


def key_pair() -> dict:
    """The content of kaggle.json, as far as the client can read it."""
    folder = config_folder()
    return client_file(folder and folder / "kaggle.json")


def login() -> dict:
    """What `kaggle auth login` left."""
    folder = dot_kaggle()
    return client_file(folder and folder / "credentials.json")


def access_token() -> tuple[str, str]:
    """The access token that the client prefers to any other key, and where it is; two empty texts without one."""
    value, folder = os.environ.get("KAGGLE_API_TOKEN", ""), dot_kaggle()
    if value and not os.access(value, os.F_OK):
        return value, "KAGGLE_API_TOKEN"
    files = [(Path(value), "KAGGLE_API_TOKEN")] if value else []
    files += [(folder / name, f"~/.kaggle/{name}") for name in TOKEN_FILES if folder]
    for file, source in files:
        try:
            token = file.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        if token:
            return token, source
    return "", ""


def has_key() -> bool:
    """Whether the client finds any key, as far as that can be known without a call."""
    if access_token()[0] or login().get("refresh_token"):
        return True
    pair = key_pair()
    return all(os.environ.get(f"KAGGLE_{name.upper()}") or pair.get(name) for name in ("username", "key"))


# Whose account it is ------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The user's names in the client's own order, from the environment and its files, without a call."""
    found = [os.environ.get("KAGGLE_USERNAME"), key_pair().get("username"), login().get("username")]
    return [name for name in found if isinstance(name, str) and name]


def user_name() -> str | None:
    """The user's name as the client knows it; a token's name is asked of the client. None where it knows none."""
    token, _ = access_token()
    return (name_of_token(token) if token else None) or next(iter(names()), None)


@cache
def name_of_token(token: str) -> str | None:
    """The name that the client shows for its token, which it asks Kaggle for; None where there is no answer."""
    command = client_command()
    quiet = {key: value for key, value in os.environ.items() if key not in ("VERBOSE", "VERBOSE_OUTPUT")}
    if command is None:
        return None
    try:
        done = subprocess.run(
            [*command, "config", "view"], env=quiet, capture_output=True, text=True, timeout=CLIENT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^- username: (\S+)$", done.stdout, re.MULTILINE)
    return found[1] if found and found[1] != "None" else None


def client_command() -> list[str] | None:
    """How to start the Kaggle client: of this Python, on the path, or in .venv; None where it is not installed."""
    if importlib.util.find_spec("kaggle"):
        return [sys.executable, "-m", "kaggle"]
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(__file__).resolve().parent / ".venv/bin")])
    found = shutil.which("kaggle", path=places)
    return [found] if found else None


# What is wrong with kaggle.json -------------------------------------------------------------------------------------


def key_file_problem() -> str:
    """Why the client cannot use its kaggle.json, and what to do.

    Empty where it can, where there is no such file, and where the client has another key.
    """
    pair = all(os.environ.get(name) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    folder = None if pair or access_token()[0] or login().get("refresh_token") else config_folder()
    try:
        content = (folder / "kaggle.json").read_bytes() if folder else None
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{folder / 'kaggle.json'} cannot be read: {error.strerror}"
    problem = "" if content is None else content_problem(content)
    return problem and f"{folder / 'kaggle.json'} {problem}"


def content_problem(content: bytes) -> str:
    """What is wrong with the bytes of a kaggle.json, without a word of them; empty where nothing is."""
    if content.startswith(BYTE_ORDER_MARKS):
        return "begins with a byte-order mark, and the Kaggle client cannot read that: save it as UTF-8 without one"
    try:
        text = content.decode("utf-8")
        data = json.loads(text)
    except UnicodeDecodeError:
        return "is not UTF-8 text: save it as UTF-8"
    except ValueError as error:
        return f"is no JSON: {syntax_problem(text, error)}"
    lacking = [
        key
        for key in ("username", "key")
        if not (isinstance(data, dict) and data.get(key)) and not os.environ.get(f"KAGGLE_{key.upper()}")
    ]
    return f"has no {' and no '.join(lacking)}: it must be {KEY_FORM}" if lacking else ""


def syntax_problem(text: str, error: Exception) -> str:
    """What is wrong with a text that is no JSON."""
    if not text.strip():
        return f"it is empty; it must be {KEY_FORM}"
    if "{" not in text:
        return f"a token alone belongs into ~/.kaggle/{TOKEN_FILES[0]}; this file must be {KEY_FORM}"
    try:
        python = isinstance(ast.literal_eval(text.strip()), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        python = False
    if "'" in text and (python or '"' not in text):
        return f"it has single quotes; JSON has double quotes: {KEY_FORM}"
    if set("“”„‟″‘’") & set(text):
        return f"it has curly quotes; JSON has straight double quotes: {KEY_FORM}"
    return f"line {getattr(error, 'lineno', 1)}: {getattr(error, 'msg', error)}; it must be {KEY_FORM}"
