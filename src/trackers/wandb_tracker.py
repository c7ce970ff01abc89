"""Weights & Biases: one W&B run for each training, all of a run in one group; offline without a key or a network."""

import http.client
import netrc
import os
import secrets
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from src.dataset import CLASS_NAMES
from src.trackers.tracker import Evaluation, TrackedTraining, Tracker, read_or_create

PROJECT = "facial-expression-recognition"
SYNC = "wandb sync wandb/offline-run-*"  # in the trackers' folder, where the recorded paths of artifacts begin
AXES = {"train/*": "epoch", "valid/*": "epoch", "lr": "epoch", "seconds": "epoch", "batch/*": "step"}
_IN_KERNEL = "in a pushed kernel"
_SERVER = "https://api.wandb.ai"
_NETWORK_SECONDS = 5
_PROXY_FAILURES = (407, 502, 503, 504)  # HTTP statuses with which a proxy says that it did not reach the server
_FINISH_SECONDS = 120.0  # how long the end of a training waits for the upload
_TAG_LENGTH = 64  # what W&B allows


class WandbTracker(Tracker):
    """One W&B run. A resumed training continues in the run whose id its folder keeps."""

    def __init__(self, training: TrackedTraining):
        training.folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.run, self.cleanup = training.folder, None, ExitStack()
        mode, _ = choose_mode()
        if mode == "offline":  # files for artifacts stay with the run, so that they can be uploaded elsewhere
            data = self.folder / "wandb" / "data"
            data.mkdir(parents=True, exist_ok=True)
            folders = {"WANDB_DATA_DIR": str(data), "WANDB_CACHE_DIR": str(data / "cache")}
            self.cleanup.enter_context(environment(folders | {"WANDB_ERROR_REPORTING": "false"}))
        try:
            import wandb

            self.wandb = wandb
            self.cleanup.callback(wandb.teardown)  # ends its service process
            self.run = wandb.init(
                project=PROJECT,
                group=training.group,
                name=training.name,
                id=read_or_create(training.id_file, secrets.token_hex(4)),
                resume="allow",
                tags=[tag[:_TAG_LENGTH] for tag in training.tags],
                config=training.config,
                dir=self.folder,
                mode=mode,
                settings=quiet_settings(wandb),
            )
            for metrics, axis in AXES.items():
                self.run.define_metric(metrics, step_metric=axis)
            if mode == "offline":
                self.record_relative_paths()
        except BaseException:
            self.cleanup.close()
            raise

    def record_relative_paths(self) -> None:
        """Lets artifacts name their files relative to the trackers' folder, which may be copied before the upload.

        W&B would record absolute paths, and those of a kernel exist nowhere else. All artifacts, also the ones that it
        makes of tables, come by `log_artifact`.
        """
        log_artifact = self.run.log_artifact

        def log_relative(artifact, *arguments, **more):
            for entry in artifact.manifest.entries.values():
                if entry.local_path:
                    entry.local_path = os.path.relpath(entry.local_path, self.folder)
            return log_artifact(artifact, *arguments, **more)

        self.run.log_artifact = log_relative

    def log_steps(self, rows: list[dict[str, float]]) -> None:
        for row in rows:
            self.run.log(row)

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        self.run.log({"epoch": epoch} | metrics)

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Confusion matrix, precision-recall and ROC curves, the table of samples, the weights, the best figures."""
        plot, labels, classes = self.wandb.plot, evaluation.labels, np.unique(evaluation.labels)
        present = evaluation.probs[:, classes]  # W&B takes the columns to be those of the classes that occur
        names = list(CLASS_NAMES)
        found = {}
        if len(labels):
            found["samples"] = self.table(evaluation)
            predicted = evaluation.probs.argmax(1).tolist()
            found["confusion_matrix"] = plot.confusion_matrix(
                preds=predicted, y_true=labels.tolist(), class_names=names, title="Validation: confusion matrix"
            )
        if len(classes) > 1:
            found["precision_recall"] = plot.pr_curve(labels, present, names, title="Validation: precision and recall")
            found["roc"] = plot.roc_curve(labels, present, names, title="Validation: ROC")
        self.run.log({"epoch": evaluation.epoch} | found)
        self.run.summary.update(evaluation.summary)
        metadata = evaluation.metadata | evaluation.summary
        weights = self.wandb.Artifact(f"{self.run.name}-{self.run.id}", type="model", metadata=metadata)
        weights.add_file(str(evaluation.weights), policy="immutable")  # no copy of it
        self.run.log_artifact(weights, aliases=["best"])

    def table(self, evaluation: Evaluation):
        """The samples: face, row, label, prediction, and the probability of each class in per cent."""
        columns = ["face", "row", "label", "predicted", "right", *CLASS_NAMES]
        rows = []
        for sample in evaluation.samples:
            predicted = int(sample.probs.argmax())
            named = CLASS_NAMES[sample.label], CLASS_NAMES[predicted], predicted == sample.label
            percent = [round(100 * float(p), 2) for p in sample.probs]
            rows.append([self.wandb.Image(sample.image), sample.row, *named, *percent])
        return self.wandb.Table(columns=columns, data=rows)

    def close(self, failed: bool) -> None:
        try:
            self.run.finish(exit_code=int(failed))
        finally:
            self.cleanup.close()


def quiet_settings(wandb):
    """Settings under which W&B prints nothing, leaves the terminal alone, and ends its waiting in bounded time."""
    wanted = {
        "silent": True,
        "console": "off",
        "symlink": False,  # a kernel's output has no links
        "disable_git": True,
        "save_code": False,
        "init_timeout": 60.0,
        "finish_timeout": _FINISH_SECONDS,
        "x_transaction_log_flush_interval": 1.0,  # seconds; what a killed process loses
    }
    known = getattr(wandb.Settings, "model_fields", wanted)  # older versions lack some
    return wandb.Settings(**{key: value for key, value in wanted.items() if key in known})


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """A block in which environment variables have these values."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def choose_mode() -> tuple[str, str]:
    """online, offline or disabled, and the reason where it is not online."""
    server = os.environ.get("WANDB_BASE_URL") or _SERVER
    wish = os.environ.get("WANDB_MODE", "")
    if wish in ("offline", "dryrun", "disabled"):
        return "disabled" if wish == "disabled" else "offline", f"WANDB_MODE={wish}"
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch":
        return "offline", _IN_KERNEL
    if not has_key(server):
        return "offline", "no API key; `wandb login` stores one"
    if not is_reachable(server):
        return "offline", f"{server} does not answer"
    return "online", ""


def describe_mode(folder: Path) -> str:
    """The mode for people, with the command that uploads what was tracked offline."""
    mode, reason = choose_mode()
    if mode == "online":
        return f"online, project {PROJECT}"
    if mode == "disabled":
        return f"disabled ({reason})"
    if reason == _IN_KERNEL:
        return f"offline ({reason}); `python -m remote fetch` prints the command that uploads it"
    return f"offline ({reason}); to upload it after the run: {sync_command(folder)}"


def sync_command(folder: Path) -> str:
    """The one command that uploads all that was tracked offline. folder: of the trackers' files."""
    return f"cd {shlex.quote(str(folder))} && {SYNC}"


def has_key(server: str) -> bool:
    """Whether W&B will find an API key for the server: in the environment or in .netrc, where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    for file in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        try:
            if netrc.netrc(os.path.expanduser(file)).authenticators(urlsplit(server).hostname or ""):  # noqa: PTH111
                return True
        except (OSError, netrc.NetrcParseError, RuntimeError, ValueError):  # ValueError: not UTF-8
            continue
    return False


def is_reachable(server: str) -> bool:
    """Whether the server answers within seconds, also through a proxy of the environment."""
    opener = urllib.request.build_opener()  # urlopen's own keeps the proxy of its first call in the process
    try:
        opener.open(server, timeout=_NETWORK_SECONDS).close()
    except urllib.error.HTTPError as error:
        return error.code not in _PROXY_FAILURES
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True
