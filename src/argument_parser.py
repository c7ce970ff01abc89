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
    """An argument parser that names the option, setting, recipe or command that an unknown word may mean.

    words: other words for some commands. trains: the command that trains a recipe; takes: its options.
    """

    words, trains, takes = COMMAND_WORDS, "run", {*OPTION_WORDS, "set"}

    def parse_args(self, args: list[str] | None = None, namespace: argparse.Namespace | None = None):
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = found.command.__name__.removeprefix("command_").replace("_", "-")
            instead = self.advice(unknown, name)
            self.end_with(f"{' '.join(unknown)}: not known to {name}{instead}", f"{name} --help")
        return found

    def error(self, message: str) -> None:
        """Ends with exit code 2, without argparse's list of all options."""
        if found := re.search(r"argument COMMAND: invalid choice: '(.*?)'", message):
            message = f"{found[1]}: no such command{self.command_advice(found[1])}"
        self.end_with(message, f"{self.prog.removeprefix('fer2013')} --help".strip())

    def end_with(self, message: str, helping: str) -> None:
        self.exit(2, f"error: {message}\n`{helping}` lists what it takes\n")

    def advice(self, unknown: list[str], command: str) -> str:
        """What to write instead of unknown arguments of a command; nothing where no word is like a known one."""
        instead = options_for(unknown)
        needed = {option.split()[0].removeprefix("--") for option in instead}
        if needed and needed <= self.options_of(command):
            return f"; write {' '.join(instead)}"
        return f"; `{self.trains}` takes {' '.join(instead)}" if needed and needed <= self.takes else ""

    def options_of(self, command: str) -> set[str]:
        """The long options of a command, without their hyphens."""
        return {option.removeprefix("--") for option in self.parsers[command]._option_string_actions}

    @property
    def parsers(self) -> dict[str, argparse.ArgumentParser]:
        """The commands, each with its own parser."""
        return self._subparsers._group_actions[0].choices

    def command_advice(self, word: str) -> str:
        """What to write instead of an unknown command."""
        if word in recipes.RECIPES:
            return f"; it is a recipe: write {self.trains} --recipe {word}"
        known = next((name for name, words in self.words.items() if word.lower() in words.split()), None)
        return f"; it is called {known}" if known else nearest(word, self.parsers)


def options_for(unknown: list[str]) -> list[str]:
    """The options that unknown arguments may mean, each with its values."""
    options, named, settings = [], [], []
    for name, value in words_of(unknown):
        option = next((key for key, words in OPTION_WORDS.items() if name in (key, *words.split())), None)
        if option:
            options.append(f"--{option}")
        elif name in recipes.RECIPES and value is None:
            named.append(f"--recipe {name}")
        elif key := setting_called(name):
            settings.append(f"{key}={value or 'VALUE'}")
    return [*named, *options, *([f"--set {' '.join(settings)}"] if settings else [])]


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
