"""The command line: the options of each command, as argparse reads them."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from src.config import COPIES


def path(text: str) -> Path:
    """A path of the command line; an empty one, as of a variable that is not set, is an error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; name a folder or a file")
    return Path(text)


KERNEL_INPUT, KERNEL_OUTPUT = Path("/kaggle/input"), Path("/kaggle/working")
TRACKERS = ("wandb", "tensorboard")
FOLDER = {"type": path, "metavar": "DIR"}
Option = tuple[str, str, dict]  # commands, an option of theirs, and how argparse reads it


def default_folder(variable: str, kernel: Path, local: str) -> Path:
    """What the environment variable names, else the kernel's own folder, else a local one."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    return kernel if kernel.is_dir() else Path(local)


def add_commands(top: argparse.ArgumentParser, commands: list[Callable], bundle: dict) -> None:
    """Adds all commands and their options. The help of a command is the first line of its function's docstring."""
    listed, made = top.add_subparsers(title="commands", required=True, metavar="COMMAND"), {}
    for command in commands:
        name, text = command.__name__.removeprefix("command_").replace("_", "-"), command.__doc__.split("\n")[0]
        made[name] = listed.add_parser(name, help=text, description=text)
        made[name].set_defaults(command=command)
    for names, option, more in [*options_of_runs(bundle), *places(), *options_of_results()]:
        for name in names.split():
            made[name].add_argument(option, **more)
    made["plan"].set_defaults(output=None, overwrite=False, report=False)
    made["explore"].set_defaults(seed=None, seeds=None, folds=None, hours=None)
    made["lr-find"].set_defaults(seeds=None, folds=None, hours=None, overwrite=False, report=False)
    made["quick"].set_defaults(device="auto", overwrite=True, leaderboard=None, report=True)


def options_of_runs(bundle: dict) -> list[Option]:
    """What is trained, and how."""
    recipe = {"metavar": "R", "default": bundle["recipe"], "help": "see `recipes` (default: %(default)s)"}
    settings = {"nargs": "+", "action": "extend", "default": [], "metavar": "KEY=VALUE", "help": "change a setting"}
    seeds = {"metavar": "S", "nargs": "+", "help": "train each member with each of these seeds"}
    trackers = "also track the training there; without network or key W&B is offline"
    nproc = "processes that share the members, by torchrun (default: in a kernel one a GPU, elsewhere 1)"
    device = {"metavar": "D", "default": "auto", "help": "auto, cpu, cuda, cuda:1, mps"}
    return [
        ("run plan explore lr-find", "--recipe", recipe),
        ("run plan explore lr-find", "--set", settings),
        ("run plan explore lr-find", "--rows", {"metavar": "N", "help": "train on the first N rows: a quick look"}),
        ("run plan", "--hours", {"metavar": "H", "help": "end in order within so many hours (in a kernel: 11.5)"}),
        ("run plan predict tta lr-find", "--device", device),
        ("run plan lr-find", "--seed", {"metavar": "S", "help": "seed of the training"}),
        ("run plan", "--seeds", seeds),
        ("run plan", "--folds", {"metavar": "K", "help": "all, or how many: train each member once a fold"}),
        ("run plan", "--nproc", {"metavar": "N", "type": int, "help": nproc}),
        ("run", "--track", {"nargs": "+", "action": "extend", "choices": TRACKERS, "help": trackers}),
        ("run", "--overwrite", {"action": "store_true", "help": "delete the run that is in the output folder"}),
        ("run ensemble", "--no-report", {"action": "store_false", "dest": "report", "help": "make no report.html"}),
    ]


def places() -> list[Option]:
    """Where a command reads, and where it writes."""
    output = default_folder("FER_OUTPUT", KERNEL_OUTPUT, "output")
    source = {"type": path, "metavar": "PATH", "default": default_folder("FER_INPUT", KERNEL_INPUT, "input")}
    source["help"] = "the folder to search for the competition's files, or a data file (default: %(default)s)"
    run = output if os.environ.get("FER_OUTPUT") or KERNEL_OUTPUT.is_dir() else "output/<recipe>-<changes>-seed<S>"
    found = [
        ("run plan explore lr-find ensemble compare tta report check score", "--input", source),
        ("run", "--output", FOLDER | {"help": f"the run's folder (default: {run})"}),
        (
            "quick",
            "--output",
            FOLDER | {"help": "the run's folder (default: %(default)s)", "default": output / "quick"},
        ),
        ("ensemble", "--output", FOLDER | {"required": True}),
        ("report", "--output", FOLDER | {"help": "the folder for report.html and figures/ (default: RUN)"}),
    ]
    for command, page in {
        "explore": "explore",
        "lr-find": "lr-find",
        "compare": "compare",
        "predict": "predictions",
    }.items():
        text = f"the folder for {page}.html and figures/ (default: %(default)s)"
        found.append((command, "--output", FOLDER | {"help": text, "default": output / command}))
    return found


def options_of_results() -> list[Option]:
    """What is done with finished runs and submissions."""
    board = {"type": path, "metavar": "CSV", "help": "as `kaggle competitions leaderboard --download` writes it"}
    pictures = {"type": path, "nargs": "+", "metavar": "IMAGE", "help": "a picture, or a folder of them"}
    runs = {"nargs": "+", "type": path, "metavar": "RUN", "help": "folder of a run"}
    return [
        ("lr-find", "--member", {"metavar": "M", "default": "", "help": "which of the recipe (default: the first)"}),
        ("lr-find", "--steps", {"metavar": "N", "type": int, "default": 200, "help": "(default: %(default)s)"}),
        ("recipes", "recipe", {"nargs": "?", "help": "print every setting of this one"}),
        ("ensemble compare tta", "runs", runs),
        ("ensemble", "--blend", {"default": "mean", "metavar": "B", "help": "how (default: %(default)s)"}),
        ("ensemble", "--copies", {"choices": COPIES, "default": "predicted", "help": "of training images in test.csv"}),
        ("ensemble", "--form", {"choices": ("auto", "kaggle", "no_header"), "default": "auto"}),
        ("predict", "run", {"type": path, "metavar": "RUN", "help": "folder of a run"}),
        ("predict", "pictures", pictures),
        ("report", "run", {"type": path, "metavar": "RUN", "help": "folder of a run or of a blend"}),
        ("check score", "submission", {"type": path}),
        ("score", "--leaderboard", board),
    ]
