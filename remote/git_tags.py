"""Git tags of pushed versions: what is pushed is committed, and each version has a tag that says what it is.

The tag kernel-v<N> is on the commit. Its message holds, as JSON, the kernel, the digest of its sources, the recipe
and the session's settings. So a score leads back to its sources, on any machine that has the repository.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from repository import git, git_problem
from src.terminal import print_wrapped

BUNDLE_SOURCES = ("src", "build.py", "kernel_metadata.py")  # these files decide the script's bytes


@dataclass(frozen=True)
class KernelVersion:
    """One version of the kernel as it was pushed.

    seconds: the limit of its session. time: when it was pushed, in Unix seconds. digest: empty if it is not known.
    """

    kernel: str
    version: int
    url: str
    digest: str
    commit: str
    dirty: bool
    recipe: str
    overrides: list[str]
    sources: list[str]
    seconds: int
    time: int

    @property
    def name(self) -> str:
        return f"{self.kernel} version {self.version}"


def uncommitted_files(root: Path) -> list[str] | None:
    """Those of BUNDLE_SOURCES that differ from the last commit; None without a commit."""
    if git(root, "rev-parse", "--verify", "HEAD") is None:
        return None
    lines = (git(root, "status", "--porcelain", "--", *BUNDLE_SOURCES) or "").splitlines()
    return [line[3:] for line in lines]


@cache
def warn_where_git_fails(root: Path) -> None:
    """Says once why the tags of the repository at `root` cannot be read: no pushed version is known then."""
    if problem := git_problem(root):
        print(f"warning: the versions that were pushed are not known. {problem}", file=sys.stderr)


def create_tag(root: Path, pushed: KernelVersion) -> str | None:
    """Tags the commit; returns the tag's name, None where git made none.

    The name is kernel-v<N>, with the digest appended where that name is taken, as by a kernel of another name.
    """
    title = f"{pushed.name}: recipe {' '.join([pushed.recipe, *pushed.overrides])}"
    message = f"{title}\n\n{json.dumps(asdict(pushed))}"
    # An annotated tag needs an author. A push must not fail at its end because git has none configured.
    known = git(root, "config", "user.email") or git(root, "var", "GIT_COMMITTER_IDENT")
    author = [] if known else ["-c", "user.name=fer2013-kit", "-c", "user.email=fer2013-kit@localhost"]
    for name in (f"kernel-v{pushed.version}", f"kernel-v{pushed.version}-{pushed.digest}"):
        if git(root, *author, "tag", "--annotate", "--no-sign", "--message", message, name) is not None:
            return name
    return None


def pushed_versions(root: Path, kernel: str) -> list[KernelVersion]:
    """All versions of the kernel that were pushed, by the tags of this repository, the newest first."""
    texts = git(root, "for-each-ref", "--format=%(contents:body)", "refs/tags/kernel-v*") or ""
    found = []
    for line in texts.splitlines():
        try:
            found.append(KernelVersion(**json.loads(line)))
        except (ValueError, TypeError):  # a tag that somebody made by hand
            continue
    return sorted((p for p in found if p.kernel == kernel), key=lambda p: p.version, reverse=True)


@cache
def untagged_version(kernel: str, number: int) -> KernelVersion:
    """A version that was pushed without a tag, as by the client alone; says once that its sources are not known."""
    print_wrapped(f"{kernel} version {number} has no tag in this repository: its sources are not known here")
    unknown = {"digest": "", "commit": "unknown", "dirty": False, "recipe": "", "overrides": [], "sources": []}
    url = f"https://www.kaggle.com/code/{kernel}"
    return KernelVersion(kernel, number, url, **unknown, seconds=0, time=int(time.time()))
