"""The trackers of a training, behind a guard: one that fails is given up with one warning, and the training continues.

The packages are optional. Nothing of them is imported unless `track` asks for it.
"""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from src.trackers.tracker import Evaluation, TrackedTraining, Tracker, epoch_metrics

NAMES = ("wandb", "tensorboard")
INSTALL = "pip install -r requirements-tracking.txt"


def open_tracker(name: str, training: TrackedTraining) -> Tracker:
    """The tracker of that name for one training; imports its package."""
    if name == "wandb":
        from src.trackers.wandb_tracker import WandbTracker

        return WandbTracker(training)
    from src.trackers.tensorboard_tracker import TensorBoardTracker

    return TensorBoardTracker(training)


def chosen(track: str) -> list[str]:
    """The names in the setting `track`."""
    return [name for name in track.split("+") if name in NAMES]


def is_installed(name: str) -> bool:
    """Whether the tracker's package is there; does not import it. A folder of W&B's files with its name is none."""
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None


def describe_tracking(track: str, folder: Path) -> list[str]:
    """A line for the log about each tracker: where it writes, and how to see it. folder: for the trackers' files."""
    lines = []
    for name in chosen(track):
        if not is_installed(name):
            lines.append(f"warning: the package {name} is not installed ({INSTALL}); the run continues without it")
        elif name == "tensorboard":
            lines.append(f"tracking: tensorboard --logdir {folder / 'tensorboard'}")
        else:
            from src.trackers.wandb_tracker import describe_mode

            lines.append(f"tracking: wandb, {describe_mode(folder)}")
    return lines


class Trackers:
    """The trackers of one training. No method raises an Exception.

    broken: names of trackers that failed before in this process; another one that fails is added.
    """

    def __init__(self, log: Callable[[str], None], broken: set[str]):
        self.log, self.broken, self.trackers = log, broken, {}

    def __bool__(self) -> bool:
        return bool(self.trackers)

    def open(self, names: list[str], describe: Callable[[], TrackedTraining]) -> None:
        """Opens the trackers that are installed. describe: what they are told of the training."""
        for name in names:
            if name not in self.broken and is_installed(name):
                try:
                    self.trackers[name] = open_tracker(name, describe())
                except Exception as error:
                    self.give_up(name, error)

    def log_steps(self, rows: list[dict[str, float]]) -> None:
        """Metrics of steps; see `Tracker`."""
        self.tell(lambda tracker: tracker.log_steps(rows))

    def log_epoch(self, row: dict) -> None:
        """A row of the history."""
        self.tell(lambda tracker: tracker.log_epoch(row["epoch"], epoch_metrics(row)))

    def log_evaluation(self, evaluate: Callable[[], Evaluation]) -> None:
        """The result of the training, which is made where a tracker is open."""
        made = []

        def tell(tracker: Tracker) -> None:
            made.extend([] if made else [evaluate()])
            tracker.log_evaluation(made[0])

        self.tell(tell)

    def close(self, failed: bool = False) -> None:
        """Ends the tracking."""
        self.tell(lambda tracker: tracker.close(failed))
        self.trackers.clear()

    def tell(self, action: Callable[[Tracker], None]) -> None:
        """Does the action with each tracker; gives up those that fail."""
        for name, tracker in list(self.trackers.items()):
            try:
                action(tracker)
            except Exception as error:
                self.give_up(name, error)

    def give_up(self, name: str, error: Exception) -> None:
        """Closes a tracker that failed, for the rest of the run, and says so."""
        self.broken.add(name)
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        self.log(f"warning: {name} failed, the training continues without it ({reason})")
        with contextlib.suppress(Exception):
            if tracker := self.trackers.pop(name, None):
                tracker.close(failed=True)
