"""A home folder and a user's name where the system has none: containers run processes under numbers without a name.

Without them the caches of torch, the hub and matplotlib raise an error or land in a folder called "~".
"""

import getpass
import os
import stat
import tempfile
from pathlib import Path

SETTINGS = (".cache", ".config", ".kaggle")  # a home folder that has one of these is used, although it is read-only


def ensure_home() -> None:
    """Sets HOME to a private temporary folder and LOGNAME to the user's number, each only where it is missing.

    Holds for this process and those that it starts. A home folder is missing if it is unknown, is not there, or cannot
    be written to and holds no settings.
    """
    if not usable_home():
        os.environ["HOME"] = str(private_folder())
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["LOGNAME"] = f"user{number_of_user()}"


def usable_home() -> bool:
    """Whether the user has a home folder that can be written to or holds settings. Asks as `access` does: no errors."""
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and the user's number has no entry in /etc/passwd
        return False
    settings = any(os.access(home / name, os.R_OK) for name in SETTINGS)
    return settings or os.access(home, os.W_OK | os.X_OK)


def private_folder() -> Path:
    """A temporary folder that belongs to this user and is closed to others; the same one at each call, if possible."""
    folder = Path(tempfile.gettempdir(), f"fer2013-home-{number_of_user()}")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()  # not stat: a link may lead to another user's folder
        closed = found.st_uid == number_of_user() and not found.st_mode & 0o077
        if not (stat.S_ISDIR(found.st_mode) and closed):
            return Path(tempfile.mkdtemp(prefix="fer2013-home-"))
    return folder


def number_of_user() -> int:
    """The user's number; 0 on Windows, which has none."""
    return os.getuid() if hasattr(os, "getuid") else 0
