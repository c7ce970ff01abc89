"""Pushes the built script. It is what the tree builds now, and Kaggle's answer is read, not the exit code."""

import hashlib
import json
import tempfile
import time
from pathlib import Path

import build
import kaggle_account
import kernel_metadata
import repository
from remote import git_tags
from remote.client import Client, KaggleError, no_key
from remote.git_tags import KernelVersion
from src import config, recipes
from src.errors import UserError
from src.main import KERNEL_HOURS
from src.terminal import print_wrapped

SPARE_HOURS = 0.25  # between the recipe's own end and the session's


def kernel_of(root: Path, owner: str | None = None) -> str:
    """owner/name of the kernel: `owner`, or the metadata's, or the name that the Kaggle client knows."""
    data = kernel_metadata.read_metadata(root)
    if "/" not in str(data.get("id")):
        raise UserError(f"{kernel_metadata.NAME}: id must be owner/name-of-the-kernel.")
    owner = owner or kernel_metadata.owner_of(data) or kaggle_account.user_name()
    if not owner and not kaggle_account.has_key():
        raise UserError(no_key())
    if not owner:
        raise UserError(
            f"whose kernel? {kernel_metadata.NAME} and the Kaggle client name nobody.\nGive the name: --owner NAME"
        )
    return f"{owner}/{data['id'].split('/')[-1]}"


def push(
    client: Client, root: Path, kernel: str, hours: float | None, allow_dirty: bool, resume: bool
) -> KernelVersion:
    """Pushes kernel/fer2013.py of the tree under `root` and tags the commit; returns what was pushed.

    hours: the session's limit; None: the recipe's. allow_dirty: push what is not committed, too. resume: the kernel's
    own last output becomes an input. Raises UserError and build.BuildError for what the user can put right, before
    anything is sent where that can be known; raises KaggleError where Kaggle refuses.
    """
    metadata = kernel_metadata.check_metadata(root, build.OUTPUT)
    script, header = read_built_script(root)
    refuse_uncommitted(root, allow_dirty)
    metadata["id"] = kernel
    if resume:
        metadata["kernel_sources"] = sorted({*metadata.get("kernel_sources", []), kernel})
    seconds = session_limit(header, hours)
    before = client.call("newest", kernel=kernel, if_missing={"version": 0})["version"]
    if resume and not before:
        raise UserError(f"{kernel}: there is no earlier version whose output could be an input. Push without --resume.")
    answer = send(client, metadata, script, seconds, before)
    if answer["error"]:
        raise refusal(answer["error"])
    pushed = kernel_version(answer, header, metadata, seconds)
    name, problem = git_tags.create_tag(root, pushed), " ".join(repository.git_problem(root).split())
    print_wrapped(f"{pushed.name} pushed, {seconds / 3600:g} h at most: {pushed.url}")
    print(f"tag {name} on commit {pushed.commit}" if name else f"warning: this version has no tag. {problem}".rstrip())
    check_sources(pushed, answer["invalid"])
    return pushed


def read_built_script(root: Path) -> tuple[bytes, dict]:
    """The script and its header; UserError unless it is what the tree would build now."""
    path = root / build.OUTPUT
    if not path.is_file():
        raise UserError(f"{build.OUTPUT}: not built yet.\nBuild it: python build.py --recipe NAME")
    script = path.read_bytes()
    again = "Build it again: python build.py --recipe"
    try:
        header = build.read_header(script)
    except ValueError:
        raise UserError(f"{build.OUTPUT}: not a script that build.py made.\n{again} NAME") from None
    sources = build.collect_sources(root)
    if build.render(sources, header | {"code": build.describe_code(root, sources)}) != script:
        overrides = ["--set", *header["overrides"]] if header["overrides"] else []
        command = " ".join([again, header["recipe"], *overrides])
        raise UserError(f"{build.OUTPUT}: the tree has changed since it was built.\n{command}")
    return script, header


def refuse_uncommitted(root: Path, allowed: bool) -> None:
    """Raises UserError if what is pushed is not committed."""
    files = git_tags.uncommitted_files(root)
    if allowed or files == []:
        return
    if files is None and (problem := repository.git_problem(root)):
        raise UserError(problem)
    if files is None:
        raise UserError(
            "no git commit here, so the score could not be traced to its sources.\nCommit, or push with --allow-dirty."
        )
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    raise UserError(f"not committed: {', '.join(files[:3])}{more}.\nCommit, or push with --allow-dirty.")


def session_limit(header: dict, hours: float | None) -> int:
    """Seconds after which Kaggle ends the session: as given, or some time after the recipe's own end."""
    most = kernel_metadata.MAX_HOURS
    if hours is not None:
        if not 0 < hours <= most:
            raise UserError(f"--hours {hours:g}: a session lasts more than 0 and at most {most:g} hours.")
        if hours < (budget := budget_hours(header)):
            print(
                f"warning: Kaggle ends the session after {hours:g} h, but the script's own budget is {budget:g} h. "
                f"Built with --set time_budget_hours={0.9 * hours:g}, it would finish in time."
            )
        return round(3600 * hours)
    return round(3600 * min(budget_hours(header) + SPARE_HOURS, most))


def budget_hours(header: dict) -> float:
    """The hours after which the script ends by its own clock."""
    recipe = config.override(recipes.get(header["recipe"]), header["overrides"])
    return KERNEL_HOURS if recipe.time_budget_hours is None else recipe.time_budget_hours


def send(client: Client, metadata: dict, script: bytes, seconds: int, before: int) -> dict:
    """Hands the script and its metadata to the client, from a folder of their own: no file of the tree changes."""
    digest = hashlib.sha256(script).hexdigest()

    def already_done() -> dict | None:
        """The version, where a push took effect whose answer was lost: a second push would cost hours of the quota."""
        now = client.call("newest", kernel=metadata["id"], if_missing={"version": 0, "digest": ""})
        if now["version"] <= before or now["digest"] != digest:
            return None
        url = f"https://www.kaggle.com/code/{metadata['id']}"
        return {"version": now["version"], "url": url, "error": "", "invalid": {}}

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / build.OUTPUT).parent.mkdir()
        (Path(place) / build.OUTPUT).write_bytes(script)
        (Path(place) / kernel_metadata.NAME).write_text(json.dumps(metadata), encoding="utf-8")
        return client.call("push", folder=place, timeout=seconds, already_done=already_done)


def refusal(words: str) -> KaggleError:
    """The error for Kaggle's refusal, with what to do where that is known."""
    advice = "Nothing runs. Correct that and push again."
    if "quota" in words.lower():
        advice = "Nothing runs. The quota is renewed every week: https://www.kaggle.com/settings shows when."
    return KaggleError(f"push: Kaggle refused it: {' '.join(words.split())}\n{advice}")


def kernel_version(answer: dict, header: dict, metadata: dict, seconds: int) -> KernelVersion:
    """What was pushed; KaggleError where Kaggle names no version."""
    if not answer["version"]:
        raise KaggleError(f"push: Kaggle named no version. Look whether it runs: {answer['url']}")
    return KernelVersion(
        kernel=metadata["id"],
        version=answer["version"],
        url=answer["url"],
        **header["code"],
        recipe=header["recipe"],
        overrides=header["overrides"],
        sources=[source for key, listed in metadata.items() if key.endswith("_sources") for source in listed],
        seconds=seconds,
        time=int(time.time()),
    )


def check_sources(pushed: KernelVersion, invalid: dict) -> None:
    """Raises UserError where Kaggle rejected a source: the version runs without it."""
    lost = [f"{kind} {name}" for kind, names in invalid.items() for name in names]
    if lost:
        raise UserError(
            f"Kaggle rejected {', '.join(lost)}: version {pushed.version} runs without it.\n"
            f"Stop it at {pushed.url}, correct kernel-metadata.json (or join the competition), and push again."
        )
