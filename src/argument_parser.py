"""The argument parser of the command line: its errors have two lines, and say what the user may have meant."""

import argparse
import re

from src import recipes
from src.config import nearest, setting_called

# Words that people use for an option or a command, by the name here.
OPTION_WORDS = {
    "input": "data data_dir data_path dataset dataset_dir input_dir",
    "output": "logdir out_dir outdir output_dir save_dir",
    "nproc": "devices gpus n_gpu num_gpus processes world_size",
    "hours": "max_time time time_limit",
    "device": "cpu cuda gpu",
    "overwrite": "clean force",
    "rows": "limit max_rows subset",
    "track": "log_to logger report_to tensorboard tracker trackers wandb",
    "recipe": "",
}
COMMAND_WORDS = {
    "run": "fit start train",
    "score": "eval evaluate test",
    "ensemble": "blend",
    "check": "validate verify",
    "recipes": "list settings",
    "plan": "estimate",
    "quick": "demo",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that names the option, setting, recipe or command that an unknown word may mean."""

    def parse_args(self, args: list[str] | None = None, namespace: argparse.Namespace | None = None):
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = found.command.__name__.removeprefix("command_")
            instead = advice(unknown, hasattr(found, "set"))
            self.end_with(f"{' '.join(unknown)}: not known to {name}{instead}", f"{name} --help")
        return found

    def error(self, message: str) -> None:
        """Ends with exit code 2, without argparse's list of all options."""
        if found := re.search(r"argument COMMAND: invalid choice: '(.*?)'", message):
            message = f"{found[1]}: no such command{command_advice(found[1])}"
        self.end_with(message, f"{self.prog.removeprefix('fer2013')} --help".strip())

    def end_with(self, message: str, helping: str) -> None:
        self.exit(2, f"error: {message}\n`{helping}` lists what it takes\n")


def advice(unknown: list[str], takes_settings: bool) -> str:
    """What to write instead of unknown arguments; nothing where no word is like a known one.

    takes_settings: whether the command has --recipe and --set.
    """
    options, named, settings = [], [], []
    for name, value in words_of(unknown):
        option = next((key for key, words in OPTION_WORDS.items() if name in (key, *words.split())), None)
        if option:
            options.append(f"--{option}")
        elif name in recipes.RECIPES and value is None:
            named.append(f"--recipe {name}")
        elif key := setting_called(name):
            settings.append(f"{key}={value or 'VALUE'}")
    instead = " ".join([*named, *options, *(["--set"] if settings else []), *settings])
    if not instead:
        return ""
    return f"; write {instead}" if takes_settings else f"; `run` takes {instead}"


def words_of(unknown: list[str]) -> list[tuple[str, str | None]]:
    """Name and value of each argument: `--lr 3`, `--lr=3`, `lr=3`, or a word alone."""
    found = []
    for argument in unknown:
        name, equals, value = argument.partition("=")
        if not argument.startswith("-") and not equals and found and found[-1][1] is None and found[-1][2]:
            found[-1] = (found[-1][0], argument, True)
        else:
            name = name.lstrip("-").replace("-", "_")
            found.append((name, value if equals else None, argument.startswith("-")))
    return [(name, value) for name, value, _ in found]


def command_advice(word: str) -> str:
    """What to write instead of an unknown command."""
    if word in recipes.RECIPES:
        return f"; it is a recipe: write run --recipe {word}"
    known = next((name for name, words in COMMAND_WORDS.items() if word.lower() in words.split()), None)
    return f"; it is called {known}" if known else nearest(word, COMMAND_WORDS)
