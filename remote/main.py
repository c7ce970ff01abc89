"""The commands of the round trip.

python -m remote push | watch | fetch | score   one step each
python -m remote go --recipe NAME               build and all four
python -m remote submissions | submit | weights DIR
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import build
import kernel_metadata
from remote import git_tags, push, watch
from remote.client import Client, KaggleError, without_key
from remote.git_tags import KernelVersion
from src.argument_parser import Parser
from src.command_line import path
from src.errors import UserError
from src.home_folder import ensure_home
from src.terminal import announce_loading, print_wrapped, run_command


def main(argv: list[str], root: Path = build.ROOT, client: Client | None = None) -> int:
    """Runs one command on the project under `root`; returns the exit code.

    0; 1 where something is wrong on Kaggle's side, or the kernel failed; 2 for what the user can put right; 130 for
    Ctrl-C; 141 where nobody reads what it prints. Anything else that is raised is a defect and keeps its traceback.
    client: stays open; by default one of this command's own.
    """
    ensure_home()
    return run_command(lambda: call_command(argv, root, client))


def call_command(argv: list[str], root: Path, client: Client | None) -> int:
    """Reads the command line and calls its command; see `main`."""
    arguments = parser().parse_args(argv)
    arguments.root, arguments.client = root, client or Client()
    try:
        arguments.command(arguments)
    except (UserError, build.BuildError) as error:
        return print_error(error, 2)
    except KaggleError as error:
        return print_error(error, 1)
    except KeyboardInterrupt:
        print("\ninterrupted. A running kernel keeps running; `watch` finds it again.", file=sys.stderr)
        return 130
    finally:
        if client is None:
            arguments.client.close()
    return 0


def print_error(error: Exception, code: int) -> int:
    print(f"error: {without_key(str(error))}", file=sys.stderr)
    return code


# ------------------------------------------------------------------------------------------- commands


def command_push(a: argparse.Namespace) -> None:
    """Pushes the built script, and tags the commit with the version."""
    if a.set and not a.recipe:
        raise UserError("--set changes a recipe that is built first: name it with --recipe")
    if a.recipe:
        print(build.build(a.root, a.root / build.OUTPUT, a.recipe, a.set))
    push.push(a.client, a.root, kernel(a), a.hours, a.allow_dirty, a.resume)


def command_watch(a: argparse.Namespace) -> None:
    """Shows the kernel's state until it ends, and why it failed where it did."""
    watch.watch(a.client, a.root, kernel(a), newest_pushed(a), a.wait)


def command_fetch(a: argparse.Namespace) -> None:
    """Downloads what the kernel left and checks it; with --record, the run becomes a row of results/README.md."""
    fetch_output(a)


def fetch_output(a: argparse.Namespace) -> Path:
    """Does what the command `fetch` does, and returns the folder."""
    announce_loading("torch")
    from remote import fetch, fetched_runs

    pushed = newest_pushed(a)
    folder = a.output or fetched_runs.run_folder(a.root, pushed)
    fetch.fetch(a.client, a.root, kernel(a), pushed, folder, a.weights)
    if a.record:
        fetched_runs.record_result(a.root, folder, a.input)
    return folder


def command_score(a: argparse.Namespace) -> None:
    """Scores the newest version that was fetched, with the labels that were published later."""
    announce_loading("torch")
    from remote import fetched_runs

    score(a.submission or fetched_runs.newest_submission(a.root), a.input, a.leaderboard)


def score(submission: Path, source: Path, leaderboard: Path | None) -> None:
    """Prints the score; UserError where the labels are of other data than the run's."""
    from remote import fetched_runs
    from src.data import competition
    from src.run.intact import require_intact
    from src.submit.score import format_score, score_submission

    require_intact(submission.parent, submission)
    if (submission.parent / "run.json").is_file():
        fetched_runs.check_data(submission.parent, source, competition.read_competition(source).digest)
    print_wrapped(format_score(score_submission(submission, source, leaderboard)))


def command_go(a: argparse.Namespace) -> None:
    """Builds, pushes, watches, fetches and scores: the whole round."""
    command_push(a)
    command_watch(a)
    score(fetch_output(a) / "submission.csv", a.input, a.leaderboard)


def command_submissions(a: argparse.Namespace) -> None:
    """Compares all submissions that were fetched, paired."""
    announce_loading("torch")
    from remote import compare, fetched_runs

    print(compare.compare_submissions(fetched_runs.fetched_folders(a.root), a.input))


def command_submit(a: argparse.Namespace) -> None:
    """Sends a submission to the competition, where Kaggle accepts late ones."""
    announce_loading("torch")
    from remote import fetched_runs, submit
    from src.run.intact import require_intact

    file = a.submission or fetched_runs.newest_submission(a.root)
    require_intact(file.parent, file)
    print(f"Kaggle: {submit.submit(a.client, file, a.message or f'{file.parent.name} by fer2013-kit')}")


def command_weights(a: argparse.Namespace) -> None:
    """Uploads a folder of weights as a private dataset and a source of the kernel; --remove takes a source out."""
    from remote import upload_weights

    if (a.folder is None) == (a.remove is None):
        raise UserError("weights: give the folder DIR to upload, or --remove NAME.")
    if a.remove is not None:
        dataset = kernel_metadata.remove_dataset(a.root, a.remove)
        print_wrapped(f"{dataset} is no source of the kernel any more; the dataset itself stays on Kaggle")
        return
    dataset = upload_weights.upload(a.client, a.root, kernel(a).split("/")[0], a.folder, a.name)
    print_wrapped(f"{dataset} is uploaded, private; {kernel_metadata.NAME} names it among its sources")


def kernel(a: argparse.Namespace) -> str:
    return push.kernel_of(a.root, a.owner)


def newest_pushed(a: argparse.Namespace) -> KernelVersion | None:
    """The kernel's newest version: as this repository's tags know it, or one that was pushed in another way."""
    git_tags.warn_where_git_fails(a.root)
    tagged = next(iter(git_tags.pushed_versions(a.root, kernel(a))), None)
    number = a.client.call("newest", kernel=kernel(a), if_missing={"version": 0})["version"]
    if number <= (tagged.version if tagged else 0):
        return tagged
    return git_tags.untagged_version(kernel(a), number)


# ------------------------------------------------------------------------------------- the command line


# Words that people use for a command, by the name here.
COMMAND_WORDS = {
    "push": "upload",
    "watch": "log logs status wait",
    "fetch": "download output pull",
    "score": "eval evaluate",
    "go": "all run",
    "submissions": "compare",
    "weights": "dataset",
}


class RemoteParser(Parser):
    """Its errors say in two lines what may have been meant, as those of the kit's own commands."""

    words, trains, takes = COMMAND_WORDS, "push", {"recipe", "set", "hours"}


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = RemoteParser(prog="python -m remote", description="The round trip to Kaggle.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    every = {
        "push": (command_push, add_owner, add_push),
        "watch": (command_watch, add_owner, add_watch),
        "fetch": (command_fetch, add_owner, add_fetch, add_input),
        "score": (command_score, add_submission, add_input, add_score),
        "go": (command_go, add_owner, add_push, add_watch, add_fetch, add_input, add_score),
        "submissions": (command_submissions, add_input),
        "submit": (command_submit, add_submission, add_submit),
        "weights": (command_weights, add_owner, add_weights),
    }
    for name, (command, *options) in every.items():
        text = command.__doc__.split("\n")[0]
        new = commands.add_parser(name, help=text, description=text)
        new.set_defaults(command=command)
        for option in options:
            option(new.add_argument)
    return top


def add_owner(add: Callable) -> None:
    text = f"whose kernel (default: as in {kernel_metadata.NAME}, else the name that the Kaggle client knows)"
    add("--owner", metavar="NAME", help=text)


def add_push(add: Callable) -> None:
    add("--recipe", metavar="R", help="build this recipe first")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="its overrides")
    text = f"end the session after so long (default: by the recipe, else {kernel_metadata.HOURS:g})"
    add("--hours", type=float, metavar="H", help=text)
    add("--allow-dirty", action="store_true", help="push what is not committed, too")
    add("--resume", action="store_true", help="add the kernel's own last output as an input: the run continues")


def add_watch(add: Callable) -> None:
    add("--wait", type=float, default=watch.MAX_HOURS, metavar="H", help="give up after H hours (default: %(default)g)")


def add_fetch(add: Callable) -> None:
    add("--output", type=path, metavar="DIR", help="target folder (default: output/kernel/v<N>)")
    add("--weights", action="store_true", help="also the networks' weights and checkpoints")
    add("--record", action="store_true", help="record the run in results/, scored with the labels")


def add_input(add: Callable) -> None:
    text = "where the competition's files and the labels are (default: %(default)s)"
    add("--input", type=path, default=Path(os.environ.get("FER_INPUT") or "input"), metavar="DIR", help=text)


def add_score(add: Callable) -> None:
    add("--leaderboard", type=path, metavar="CSV", help="as `kaggle competitions leaderboard --download` writes it")


def add_submission(add: Callable) -> None:
    add("submission", nargs="?", type=path, help="default: that of the newest version that was fetched")


def add_submit(add: Callable) -> None:
    add("--message", metavar="TEXT", help="what Kaggle shows beside the score")


def add_weights(add: Callable) -> None:
    add("folder", nargs="?", type=path, metavar="DIR", help="holds the weights, such as .safetensors or .pth")
    add("--name", metavar="NAME", help="the dataset's name (default: that of the folder, and -weights)")
    add("--remove", metavar="NAME", help="take this dataset out of the kernel's sources; it stays on Kaggle")
