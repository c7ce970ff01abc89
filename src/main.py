"""The commands of the kit. Without one it is `run` in a Kaggle kernel, and elsewhere the small `quick`."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from src import config, recipe_table, recipes
from src.argument_parser import Parser
from src.command_line import KERNEL_OUTPUT, TRACKERS, add_commands, default_folder
from src.contradictions import configure
from src.dataset import CLASS_NAMES
from src.errors import UserError
from src.files import FULL
from src.home_folder import ensure_home
from src.recipe_changes import changed_settings, folder_name
from src.run import ranks
from src.terminal import announce, announce_loading, announce_reading, print_wrapped, run_command
from src.train.allocator import keep_freed_memory
from src.train.budget import process_started

KERNEL_HOURS = 11.5  # of the 12 that Kaggle allows: whether a kernel that is cut off keeps its files is not certain


def main(argv: list[str], bundle: dict) -> int:
    """Runs one command and returns the exit code: 0, 1 where something was found wrong, 2 for the user's error, 129
    for a closed terminal, 130 for Ctrl-C, 141 where nobody reads what it prints, 143 for SIGTERM. Anything else that is
    raised is a defect and keeps its traceback.

    bundle: code {digest, commit, dirty}, recipe and overrides, as `build.py` found them.
    """
    keep_freed_memory()  # before torch is imported
    ensure_home()
    return run_command(lambda: call_command(argv, bundle))


def call_command(argv: list[str], bundle: dict) -> int:
    """Reads the command line and calls its command; see `main`."""
    arguments = parser(bundle).parse_args(argv := argv or [default_command()])
    arguments.argv = argv
    try:
        return arguments.command(arguments, bundle)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: the disk is full{place}\nFree some space, then give the same command again.", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:  # after a signal that a run took, it says with which code to end
        if not ranks.launched():
            trains = arguments.command in (command_run, command_quick)
            print(ranks.INTERRUPTED if trains else "interrupted", file=sys.stderr)
        return getattr(stopped, "code", 130)


def default_command() -> str:
    """`run` in a kernel, `quick` elsewhere."""
    return "run" if in_kernel() else "quick"


def in_kernel() -> bool:
    """Whether this is a Kaggle kernel."""
    return bool(os.environ.get("KAGGLE_KERNEL_RUN_TYPE"))


def default_output(recipe: config.Recipe) -> Path:
    """Where a run goes without --output; elsewhere than in a kernel output/<recipe>[-<changes>]-seed<S>."""
    changes = changed_settings(config.as_dict(recipe), config.as_dict(recipes.get(recipe.name)))
    name = f"{recipe.name}{folder_name(changes, config.config_hash(recipe))}-seed{recipe.seed}"
    return default_folder("FER_OUTPUT", KERNEL_OUTPUT, f"output/{name}")


# ------------------------------------------------------------------------------------------- commands


def command_run(arguments: argparse.Namespace, bundle: dict) -> int:
    """Trains, blends, writes."""
    recipe, number = configured(arguments, bundle), ranks.number_of_rank()
    if number is None and (nproc := processes_of(arguments)) > 1:
        announce(f"starting {nproc} processes, each of which loads torch …", sys.stdout)
        return ranks.launch(nproc, arguments.argv, started(), lambda: blend_finished(arguments, recipe, bundle))
    if not ranks.launched():
        announce_loading("torch", sys.stdout)
    from src.run.run import run  # torch takes seconds to import: the small commands do without it

    def run_to_exit_code(rank: ranks.Rank | None = None) -> int | None:
        """None: other ranks have not ended yet."""
        record = run(request_of(arguments, recipe, bundle), rank)
        return int(bool(record.failed)) if record.status == "finished" else None

    return run_to_exit_code() if number is None else ranks.run_rank(run_to_exit_code)


def request_of(arguments: argparse.Namespace, recipe: config.Recipe, bundle: dict):
    """The run that was asked for."""
    from src.run.context import RunRequest
    from src.run.record import Code

    # A restart by torchrun continues what the first start has made.
    overwrite = arguments.overwrite and not ranks.restarts()
    folders = (arguments.input, arguments.output or default_output(recipe))
    code, more = Code(**bundle["code"]), {"started": started(), "report": arguments.report}
    if ranks.restarts():
        more["restarted"] = process_started()
    return RunRequest(recipe, code, *folders, arguments.device, overwrite, **more)


def started() -> float:
    """When this process or the launcher of its ranks was started, in seconds since 1970."""
    return float(os.environ.get(ranks.STARTED) or process_started())


def blend_finished(arguments: argparse.Namespace, recipe: config.Recipe, bundle: dict) -> None:
    """Blends what ranks have left that died too often."""
    from src.run.run import finish_lost_run

    arguments.device = "cpu"
    finish_lost_run(request_of(arguments, recipe, bundle))


def processes_of(arguments: argparse.Namespace) -> int:
    """The ranks to start: as asked, else as many as there are GPUs in a kernel, else one."""
    if arguments.nproc is not None:
        if arguments.nproc < 1:
            raise UserError(f"--nproc {arguments.nproc}: give 1 or more")
        if arguments.nproc > 1 and not ranks.this_command():
            raise UserError("--nproc: torchrun needs a script in a file; this code was not started from one")
        return arguments.nproc
    automatic = in_kernel() and arguments.device in ("auto", "cuda") and ranks.this_command()
    return max(1, ranks.gpus()) if automatic else 1


def configured(arguments: argparse.Namespace, bundle: dict) -> config.Recipe:
    """The recipe with what the bundle says of it, then with what the command line says."""
    recipe, built_in = recipes.get(arguments.recipe), []
    if arguments.recipe == bundle["recipe"]:
        built_in = bundle["overrides"]
    given = [*arguments.set, *options_as_settings(arguments)]
    recipe = configure(configure(recipe, built_in), given)
    if (built_in or given) and not ranks.launched():
        announce(f"overrides: {' '.join([*built_in, *given])}", sys.stdout)
    if recipe.time_budget_hours is None and in_kernel():
        recipe = replace(recipe, time_budget_hours=KERNEL_HOURS)
    return recipe


def options_as_settings(arguments: argparse.Namespace) -> list[str]:
    """The options that are settings, as `--set` takes them; UserError where `--set` names one of these too."""
    found, keys = [], [assignment.partition("=")[0].strip() for assignment in arguments.set]
    options = {"rows": "max_train_rows", "seed": "seed", "seeds": "seeds", "hours": "time_budget_hours"}
    for option, key in options.items():
        if (value := getattr(arguments, option)) is not None:
            value = ",".join(value) if option == "seeds" else value
            if key in keys:
                raise UserError(f"--{option} {value} and --set {key}: both set {key}; give one of them")
            found.append(f"{key}={value}")
    if arguments.folds is not None:
        if {"fold", "folds"} & set(keys):
            raise UserError(f"--folds {arguments.folds} and --set fold or folds: give one of them")
        found += ["fold=all", *([] if arguments.folds == "all" else [f"folds={arguments.folds}"])]
    if chosen := getattr(arguments, "track", None):
        if "track" in keys:
            raise UserError(f"--track {' '.join(chosen)} and --set track: both set track; give one of them")
        found.append(f"track={'+'.join(name for name in TRACKERS if name in chosen)}")
    return found


def command_plan(arguments: argparse.Namespace, bundle: dict) -> int:
    """What each member of a run would cost, from a short warm-up, and the sum against the budget."""
    recipe = configured(arguments, bundle)
    announce_loading("torch", sys.stdout)
    from src.run.estimate import estimate

    print_wrapped("\n".join(estimate(request_of(arguments, recipe, bundle), processes_of(arguments))))
    return 0


def command_quick(arguments: argparse.Namespace, bundle: dict) -> int:
    """An end-to-end run on synthetic faces: draws, trains, blends, writes, checks, scores."""
    announce_loading("torch", sys.stdout)
    from src.data import synthetic
    from src.run.run import run
    from src.run.run_folder import RunFolder

    output = RunFolder(arguments.output)
    output.require_only_runs()
    if output.record_file.exists() and output.read_record().recipe_name != "quick":
        raise UserError(f"{output.path} holds a run that is not a quick one; give another --output")
    arguments.input, arguments.submission = output.path / "faces", output.submission
    try:
        synthetic.write_files(arguments.input)
    except OSError as error:
        raise UserError(f"{output.path} cannot be written to ({error.strerror}); give another --output") from error
    announce(f"synthetic faces in the competition's own file formats: {arguments.input}", sys.stdout)
    record = run(request_of(arguments, recipes.get("quick"), bundle))
    return command_score(arguments, bundle) or int(bool(record.failed))


def command_recipes(arguments: argparse.Namespace, bundle: dict) -> int:
    """The table of recipes, or every setting of one."""
    if arguments.recipe:
        print(recipe_table.settings_table(recipes.get(arguments.recipe)))
        return 0
    announce_loading("torch")
    print(recipe_table.recipes_table())
    return 0


def command_explore(arguments: argparse.Namespace, bundle: dict) -> int:
    """Shows the data on one page: classes, faces, copies, the split, augmented faces."""
    recipe = configured(arguments, bundle)
    announce_loading("torch", sys.stdout)
    from src.report.explore import explore
    from src.run.run_folder import refuse_run

    refuse_run(arguments.output)
    print_wrapped(explore(arguments.input, arguments.output, recipe))
    return 0


def command_lr_find(arguments: argparse.Namespace, bundle: dict) -> int:
    """Tests rising learning rates on one member of a recipe, and suggests one."""
    recipe = configured(arguments, bundle)
    announce_loading("torch", sys.stdout)
    from src.run.lr_find import LrRequest, find_lr

    request = request_of(arguments, recipe, bundle)
    print_wrapped(find_lr(LrRequest(request, arguments.member, arguments.steps)))
    return 0


def command_ensemble(arguments: argparse.Namespace, bundle: dict) -> int:
    """Blends the members of finished runs."""
    announce_reading()
    from src.run.reblend import BlendRequest, blend_runs
    from src.run.record import Code

    folders, code = (arguments.runs, arguments.input, arguments.output), Code(**bundle["code"])
    how = (arguments.form, arguments.blend, arguments.report, arguments.copies)
    print_wrapped(blend_runs(BlendRequest(*folders, code, *how)))
    return 0


def command_report(arguments: argparse.Namespace, bundle: dict) -> int:
    """Shows a run on one page: settings, curves, errors by class, calibration, the blend, faces."""
    announce_reading()
    from src.report.run_report import report_command
    from src.run.run_folder import refuse_run

    if arguments.output and arguments.output.resolve() != arguments.run.resolve():
        refuse_run(arguments.output)
    print_wrapped(report_command(arguments.run, arguments.input, arguments.output))
    return 0


def command_predict(arguments: argparse.Namespace, bundle: dict) -> int:
    """Predicts pictures of one centred face each with the networks of a run: a table, a CSV file, a page with maps."""
    announce_loading("torch", sys.stdout)
    from src.run.predict import PredictRequest, predict_pictures

    request = PredictRequest(arguments.run, arguments.pictures, arguments.output, arguments.device)
    print_wrapped(predict_pictures(request))
    return 0


def command_tta(arguments: argparse.Namespace, bundle: dict) -> int:
    """What each set of test-time views is worth for finished runs, on their validation rows."""
    announce_loading("torch", sys.stdout)
    from src.run.tta_views import compare_views

    print_wrapped(compare_views(arguments.runs, arguments.input, arguments.device))
    return 0


def command_compare(arguments: argparse.Namespace, bundle: dict) -> int:
    """Compares runs and blends: settings, accuracy, McNemar's test, classes, faces; on one page too."""
    announce_reading()
    from src.run.compare import compare

    print_wrapped(compare(arguments.runs, arguments.input, arguments.output))
    return 0


def command_check(arguments: argparse.Namespace, bundle: dict) -> int:
    """Is the submission valid?"""
    announce_reading()
    from src.data import competition
    from src.submit.check import check_submission

    data = competition.read_competition(arguments.input)
    checked = check_submission(arguments.submission, len(data.test), data.example)
    lines = [f"{arguments.submission}: valid; {checked.rows:,} rows, {checked.form}"]
    lines += [f"  {name:9s} {count:6,}" for name, count in zip(CLASS_NAMES, checked.counts, strict=True)]
    print_wrapped("\n".join([*lines, *(f"warning: {warning}" for warning in checked.warnings)]))
    return 0


def command_score(arguments: argparse.Namespace, bundle: dict) -> int:
    """What would the submission have scored, and ranked?"""
    announce_reading()
    from src.run.intact import require_intact
    from src.submit.score import format_score, score_submission

    require_intact(arguments.submission.parent, arguments.submission)
    print_wrapped(format_score(score_submission(arguments.submission, arguments.input, arguments.leaderboard)))
    return 0


# ------------------------------------------------------------------------------------- the command line


COMMANDS = [
    command_run,
    command_plan,
    command_quick,
    command_recipes,
    command_explore,
    command_lr_find,
    command_ensemble,
    command_predict,
    command_compare,
    command_tta,
    command_report,
    command_check,
    command_score,
]


def parser(bundle: dict) -> argparse.ArgumentParser:
    """Reads all commands and their options."""
    made = Parser(
        prog="fer2013",
        description="Trains networks on FER2013, blends them, writes, checks and scores submission.csv.",
        epilog=f"sources {bundle['code']['digest']}, commit {bundle['code']['commit']}",
    )
    add_commands(made, COMMANDS, bundle)
    return made
