"""TensorBoard: event files with the same scalars, figures and faces, a folder for each training."""

import json
import sys
from types import ModuleType

from src.trackers.tracker import Evaluation, TrackedTraining, Tracker


class TensorBoardTracker(Tracker):
    """Writes the events of one training; those of a resumed one go into a second file of the same folder."""

    def __init__(self, training: TrackedTraining):
        # Where TensorFlow is installed, TensorBoard would import it, for seconds and gigabytes, to write its files.
        # This is the module by which its authors turn that off.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(training.folder / "tensorboard" / training.name))
        settings = {"group": training.group, "tags": training.tags, "config": training.config}
        self.writer.add_text("settings", f"```\n{json.dumps(settings, indent=1)}\n```")
        self.writer.flush()

    def log_steps(self, rows: list[dict[str, float]]) -> None:
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    self.writer.add_scalar(name, value, int(row["step"]))

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def log_evaluation(self, evaluation: Evaluation) -> None:
        for name, picture in evaluation.pictures().items():
            self.writer.add_image(f"validation/{name}", picture, evaluation.epoch, dataformats="HWC")
        for name, value in evaluation.summary.items():
            self.writer.add_scalar(f"result/{name}", value, evaluation.epoch)

    def close(self, failed: bool) -> None:
        self.writer.close()
