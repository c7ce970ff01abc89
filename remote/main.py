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
from remote import client, git_tags, push, watch
from remote.client import KaggleError
from remote.git_tags import KernelVersion
from src.errors import UserError


def main(argv: list[str], root: Path = build.ROOT) -> int:
    """Runs one command on the project under `root`; returns the exit code.

    0; 1 where something is wrong on Kaggle's side, or the kernel failed; 2 for what the user can put right; 130 for
    Ctrl-C. Anything else that is raised is a defect and keeps its traceback.
    """
    arguments = parser().parse_args(argv)
    arguments.root = root
    try:
        arguments.command(arguments)
    except (UserError, build.BuildError) as error:
        return say(error, 2)
    except KaggleError as error:
        return say(error, 1)
    except KeyboardInterrupt:
        print("\ninterrupted; a kernel that runs goes on running, and `watch` finds it again", file=sys.stderr)
        return 130
    finally:
        client.close()
    return 0


def say(error: Exception, code: int) -> int:
    print(f"error: {client.without_key(str(error))}", file=sys.stderr)
    return code


# ------------------------------------------------------------------------------------------- commands


def command_push(arguments: argparse.Namespace) -> None:
    """Pushes the built script, and tags the commit with the version."""
    rebuild(arguments)
    a = arguments
    push.push(a.root, kernel(a), a.hours, a.allow_dirty, a.resume)


def command_watch(arguments: argparse.Namespace) -> None:
    """Shows the kernel's state until it is over, and why it failed where it did."""
    watch.watch(arguments.root, kernel(arguments), pushed(arguments), arguments.wait)


def command_fetch(arguments: argparse.Namespace) -> None:
    """Downloads what the kernel left, checks it, and puts the run into results/."""
    from remote import fetch

    folder = arguments.output or fetch.folder_of(arguments.root, pushed(arguments))
    fetch.fetch(arguments.root, kernel(arguments), pushed(arguments), folder, arguments.weights)
    fetch.put_into_results(arguments.root, folder, arguments.input)


def command_score(arguments: argparse.Namespace) -> None:
    """Scores the submission that was fetched last, with the labels that were published later."""
    from remote import fetch
    from src.data import competition
    from src.submit.score import format_score, score_submission

    submission = arguments.submission or fetch.newest(arguments.root) / "submission.csv"
    if (submission.parent / "run.json").is_file():
        fetch.check_data(submission.parent, arguments.input, competition.read_competition(arguments.input).digest)
    print(format_score(score_submission(submission, arguments.input, arguments.leaderboard)))


def command_go(arguments: argparse.Namespace) -> None:
    """Builds, pushes, watches, fetches and scores: the whole round."""
    command_push(arguments)
    command_watch(arguments)
    command_fetch(arguments)
    command_score(argparse.Namespace(**vars(arguments) | {"submission": None}))


def command_submissions(arguments: argparse.Namespace) -> None:
    """Compares all submissions that were fetched, paired."""
    from remote import compare, fetch

    print(compare.compare(fetch.fetched(arguments.root), arguments.input))


def command_submit(arguments: argparse.Namespace) -> None:
    """Sends a submission to the competition, where Kaggle takes late ones."""
    from remote import fetch, submit

    file = arguments.submission or fetch.newest(arguments.root) / "submission.csv"
    print(f"Kaggle: {submit.submit(file, arguments.message or f'{file.parent.name} by fer2013-kit')}")


def command_weights(arguments: argparse.Namespace) -> None:
    """Packs a folder of weights as a private dataset, and adds it to the kernel's sources."""
    from remote import upload_weights

    dataset = upload_weights.pack(arguments.root, kernel(arguments).split("/")[0], arguments.folder, arguments.name)
    print(f"{dataset} is there, private; {kernel_metadata.NAME} names it among its sources")


def rebuild(arguments: argparse.Namespace) -> None:
    """Builds, where a recipe or its overrides are given."""
    if arguments.recipe or arguments.set:
        output = arguments.root / build.OUTPUT
        print(build.build(arguments.root, output, arguments.recipe or "baseline", arguments.set)[0])


def kernel(arguments: argparse.Namespace) -> str:
    return push.kernel_of(arguments.root, arguments.owner)


def pushed(arguments: argparse.Namespace) -> KernelVersion | None:
    """The newest version of the kernel that was pushed from this repository."""
    return next(iter(git_tags.history(arguments.root, kernel(arguments))), None)


# ------------------------------------------------------------------------------------- the command line


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m remote", description="The round trip to Kaggle.")
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
    add("--resume", action="store_true", help="with the kernel's own last output as an input: the run goes on")


def add_watch(add: Callable) -> None:
    add("--wait", type=float, default=watch.HOURS, metavar="H", help="give up after H hours (default: %(default)g)")


def add_fetch(add: Callable) -> None:
    add("--output", type=Path, metavar="DIR", help="where to (default: output/kernel/v<N>)")
    add("--weights", action="store_true", help="the networks' weights and checkpoints, too")


def add_input(add: Callable) -> None:
    text = "where the competition's files and the labels are (default: %(default)s)"
    add("--input", type=Path, default=Path(os.environ.get("FER_INPUT") or "input"), metavar="DIR", help=text)


def add_score(add: Callable) -> None:
    add("--leaderboard", type=Path, metavar="CSV", help="as `kaggle competitions leaderboard --download` writes it")


def add_submission(add: Callable) -> None:
    add("submission", nargs="?", type=Path, help="default: the one that was fetched last")


def add_submit(add: Callable) -> None:
    add("--message", metavar="TEXT", help="what Kaggle shows beside the score")


def add_weights(add: Callable) -> None:
    add("folder", type=Path, metavar="DIR", help="holds .safetensors, .bin, .pt or .pth")
    add("--name", metavar="NAME", help="the dataset's name (default: the folder's, and weights)")
