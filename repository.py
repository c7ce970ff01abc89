"""The git repository of the project: its answers, and its own words where it gives none. Standard library only."""

import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> str | None:
    """The output of a git command; None where it fails, where there is no git and where there is no repository."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def git_problem(root: Path) -> str:
    """Git's words on a repository that it does not read, such as another user's; empty where it reads it, or has none.

    The first line is the error, the rest is git's advice.
    """
    if not any((folder / ".git").exists() for folder in (root, *root.resolve().parents)):
        return ""
    command = ["git", "-C", str(root), "rev-parse", "--git-dir"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git cannot be started: {error}"
    if done.returncode == 0:
        return ""
    first, *rest = done.stderr.strip().splitlines() or ["it gives no reason"]
    return "\n".join(filter(None, [f"git: {first.removeprefix('fatal: ')}", " ".join(" ".join(rest).split())]))
