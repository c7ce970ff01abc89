"""The commands of the kit.

Without a command it runs what was built in when it is in a Kaggle kernel, and elsewhere `quick`,
a run on synthetic faces: the command without arguments is the small one.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from src import config, recipe_table, recipes
from src.dataset import CLASS_NAMES
from src.errors import UserError
from src.run import ranks
from src.train.allocator import keep_freed_memory
from src.train.budget import process_started

KERNEL_INPUT, KERNEL_OUTPUT = Path("/kaggle/input"), Path("/kaggle/working")
KERNEL_HOURS = 11.5  # of the 12 that Kaggle allows: whether a kernel that is cut off keeps its files is not certain


def main(argv: list[str], bundle: dict) -> int:
    """Runs one command and returns the exit code: 0, 1 where something was found wrong, 2 for the user's error, 130
    for Ctrl-C, 143 for SIGTERM. Anything else that is raised is a defect and keeps its traceback.

    bundle: code {digest, commit, dirty}, recipe and overrides, as `build.py` found them.
    """
    keep_freed_memory()  # before torch is imported
    argv = argv or [default_command()]
    arguments = parser(bundle).parse_args(argv)
    arguments.argv = argv
    try:
        return arguments.command(arguments, bundle)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:  # after a signal that a run took, it says with which code to end
        if not ranks.launched():
            print(ranks.INTERRUPTED, file=sys.stderr)
        return getattr(stopped, "code", 130)


def default_command() -> str:
    """`run` in a kernel, `quick` elsewhere."""
    return "run" if in_kernel() else "quick"


def in_kernel() -> bool:
    """Whether this is a Kaggle kernel."""
    return bool(os.environ.get("KAGGLE_KERNEL_RUN_TYPE"))


def input_folder() -> Path:
    """FER_INPUT, else the kernel's own folder, else input/."""
    return folder("FER_INPUT", KERNEL_INPUT, "input")


def output_folder() -> Path:
    """FER_OUTPUT, else the kernel's own folder, else output/."""
    return folder("FER_OUTPUT", KERNEL_OUTPUT, "output")


def folder(variable: str, kernel: Path, local: str) -> Path:
    if os.environ.get(variable):
        return Path(os.environ[variable])
    return kernel if kernel.is_dir() else Path(local)


# ------------------------------------------------------------------------------------------- commands


def command_run(arguments: argparse.Namespace, bundle: dict) -> int:
    """Trains, blends, writes."""
    started = float(os.environ.get(ranks.STARTED) or process_started())
    recipe, number = configured(arguments, bundle), ranks.number_of_rank()
    if number is None and (nproc := processes_of(arguments)) > 1:
        return ranks.launch(nproc, arguments.argv, started, lambda: finish_lost_run(arguments, recipe, bundle, started))
    from src.run.run import run  # torch takes seconds to import: the small commands do without it

    request = request_of(arguments, recipe, bundle, started)
    if number is None:
        return exit_code(run(request))

    def rank_of_run(rank: ranks.Rank) -> int | None:
        record = run(request, rank)
        return exit_code(record) if record.status == "finished" else None

    return ranks.run_rank(rank_of_run)


def exit_code(record) -> int:
    """0 for a finished run, 1 where a member failed."""
    return 1 if record.failed else 0


def request_of(arguments: argparse.Namespace, recipe: config.Recipe, bundle: dict, started: float):
    """The run that was asked for."""
    from src.run.context import RunRequest

    # A restart by torchrun continues what the first start has made.
    overwrite = arguments.overwrite and not ranks.restarts()
    folders = (arguments.input, arguments.output)
    return RunRequest(recipe, code_of(bundle), *folders, arguments.device, overwrite, started)


def finish_lost_run(arguments: argparse.Namespace, recipe: config.Recipe, bundle: dict, started: float) -> None:
    """Blends what ranks have left that died too often."""
    from src.run import run

    arguments.device = "cpu"
    run.finish_lost_run(request_of(arguments, recipe, bundle, started))


def processes_of(arguments: argparse.Namespace) -> int:
    """The ranks to start: as asked, else as many as there are GPUs in a kernel, else one."""
    if arguments.nproc is not None:
        if arguments.nproc < 1:
            raise UserError(f"--nproc {arguments.nproc}: give 1 or more")
        if arguments.nproc > 1 and not ranks.own_command():
            raise UserError("--nproc: torchrun needs a script in a file; this code was not started from one")
        return arguments.nproc
    automatic = in_kernel() and arguments.device in ("auto", "cuda") and ranks.own_command()
    return max(1, ranks.gpus()) if automatic else 1


def configured(arguments: argparse.Namespace, bundle: dict) -> config.Recipe:
    """The recipe with what the command line and the bundle say of it."""
    own = arguments.recipe in (None, bundle["recipe"])
    recipe = recipes.get(arguments.recipe or bundle["recipe"])
    overrides = [*(bundle["overrides"] if own else []), *arguments.set]
    for option, key in {"rows": "max_train_rows", "seed": "seed", "hours": "time_budget_hours"}.items():
        if getattr(arguments, option) is not None:
            overrides.append(f"{key}={getattr(arguments, option)}")
    recipe = config.override(recipe, overrides)
    if overrides and not ranks.launched():
        print(f"overrides: {' '.join(overrides)}", flush=True)
    if recipe.time_budget_hours is None and in_kernel():
        recipe = config.override(recipe, [f"time_budget_hours={KERNEL_HOURS}"])
    return recipe


def command_plan(arguments: argparse.Namespace, bundle: dict) -> int:
    """What each member of a run would cost, from a short warm-up, and the sum against the budget."""
    from src.run.estimate import estimate

    arguments.output, arguments.overwrite = Path(), False
    request = request_of(arguments, configured(arguments, bundle), bundle, process_started())
    print("\n".join(estimate(request, processes_of(arguments))))
    return 0


def command_quick(arguments: argparse.Namespace, bundle: dict) -> int:
    """An end-to-end run on synthetic faces: draws, trains, blends, writes, checks, scores."""
    from src.data import synthetic
    from src.run.context import RunRequest
    from src.run.folder import RunFolder
    from src.run.run import run

    output = arguments.output or output_folder() / "quick"
    earlier = RunFolder(output)
    if earlier.run_json.exists() and earlier.read_record().recipe_name != "quick":
        raise UserError(f"{output} holds a run that is not a quick one; give another --output")
    faces = output / "faces"
    synthetic.write_files(faces)
    print(f"synthetic faces in {faces}, in the competition's own file formats")
    run(RunRequest(recipes.get("quick"), code_of(bundle), faces, output, overwrite=True))
    scored = argparse.Namespace(submission=earlier.submission, input=faces, leaderboard=None)
    return command_score(scored, bundle)


def command_recipes(arguments: argparse.Namespace, bundle: dict) -> int:
    """The table of recipes, or every setting of one."""
    print(
        recipe_table.settings_table(recipes.get(arguments.recipe)) if arguments.recipe else recipe_table.recipes_table()
    )
    return 0


def command_ensemble(arguments: argparse.Namespace, bundle: dict) -> int:
    """Blends the members of finished runs."""
    from src.ensemble.reblend import blend_runs

    print(blend_runs(arguments.runs, arguments.input, arguments.output, arguments.form, arguments.blend))
    return 0


def command_check(arguments: argparse.Namespace, bundle: dict) -> int:
    """Is the submission valid?"""
    from src.data import competition
    from src.submit.check import check_submission

    data = competition.read_competition(arguments.input)
    checked = check_submission(arguments.submission, len(data.test), data.example)
    print(f"{arguments.submission}: valid; {checked.rows:,} rows, {checked.form}")
    for name, count in zip(CLASS_NAMES, checked.counts, strict=True):
        print(f"  {name:9s} {count:6,}")
    for warning in checked.warnings:
        print(f"warning: {warning}")
    return 0


def command_score(arguments: argparse.Namespace, bundle: dict) -> int:
    """What would the submission have scored, and ranked?"""
    from src.submit.score import format_score, score_submission

    print(format_score(score_submission(arguments.submission, arguments.input, arguments.leaderboard)))
    return 0


def code_of(bundle: dict):
    """What a run records of its sources."""
    from src.run.record import Code

    return Code(**bundle["code"])


# ------------------------------------------------------------------------------------- the command line


class Parser(argparse.ArgumentParser):
    """An argument parser that names `--set` where an unknown option is a setting."""

    def error(self, message: str) -> None:
        options = re.findall(r"--([\w-]+)", message) if message.startswith("unrecognized") else []
        key = next(filter(None, (config.setting_called(option.replace("-", "_")) for option in options)), None)
        super().error(f"{message}; {key} is a setting: write --set {key}=VALUE" if key else message)


def parser(bundle: dict) -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="fer2013",
        description="Trains networks on FER2013, blends them, writes, checks and scores submission.csv.",
        epilog=f"sources {bundle['code']['digest']}, commit {bundle['code']['commit']}",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run, plan = add(commands, "run", command_run), add(commands, "plan", command_plan)
    for command in (run, plan):
        add_recipe(command, bundle)
    add_output(run)
    quick = add(commands, "quick", command_quick)
    quick.add_argument("--output", type=Path, metavar="DIR", help="default: quick/ in the output folder")
    table = add(commands, "recipes", command_recipes)
    table.add_argument("recipe", nargs="?", help="print every setting of this one")
    ensemble = add(commands, "ensemble", command_ensemble)
    ensemble.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    ensemble.add_argument("--output", type=Path, required=True, metavar="DIR")
    ensemble.add_argument("--blend", default="mean", metavar="B", help="how (default: %(default)s)")
    ensemble.add_argument("--form", choices=("auto", "kaggle", "no_header"), default="auto")
    checks = add(commands, "check", command_check)
    scores = add(commands, "score", command_score)
    scores.add_argument(
        "--leaderboard", type=Path, metavar="CSV", help="as `kaggle competitions leaderboard --download` writes it"
    )
    for command in (checks, scores):
        command.add_argument("submission", type=Path)
    for command in (ensemble, checks, scores):
        add_input(command)
    return top


def add(commands, name: str, command: Callable) -> argparse.ArgumentParser:
    """A sub-command whose help is the first line of its function's docstring."""
    text = command.__doc__.split("\n")[0]
    new = commands.add_parser(name, help=text, description=text)
    new.set_defaults(command=command)
    return new


def add_input(command: argparse.ArgumentParser) -> None:
    text = "searched for the competition's files (default: %(default)s)"
    command.add_argument("--input", type=Path, default=input_folder(), metavar="DIR", help=text)


def add_recipe(command: argparse.ArgumentParser, bundle: dict) -> None:
    """The options that say what is to be run, and on what."""
    command.add_argument("--recipe", metavar="R", help=f"see `recipes` (default: {bundle['recipe']}, as built in)")
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change a setting")
    add_input(command)
    command.add_argument("--rows", metavar="N", help="train on the first N rows: a quick look")
    command.add_argument("--hours", metavar="H", help="end in order within so many hours (in a kernel: 11.5)")
    command.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps")
    command.add_argument("--seed", metavar="S", help="seed of the training")
    text = "processes that share the members, by torchrun (default: in a kernel one a GPU, elsewhere 1)"
    command.add_argument("--nproc", type=int, metavar="N", help=text)


def add_output(command: argparse.ArgumentParser) -> None:
    """The options that say where a run goes."""
    text = "the run's folder (default: %(default)s)"
    command.add_argument("--output", type=Path, default=output_folder(), metavar="DIR", help=text)
    command.add_argument("--overwrite", action="store_true", help="delete the run that is in the output folder")
