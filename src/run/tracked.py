"""What a run tells the trackers of experiments: of each training before, during and after it."""

import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from src import config, models
from src.config import Member
from src.dataset import CLASS_NAMES
from src.ensemble.predictions import load_predictions
from src.report.curves import confusion_figure, precision_recall_figure, roc_figure
from src.report.faces import Face, FaceGrid
from src.run.context import RunContext
from src.run.trainings import Training
from src.trackers.guarded import Trackers, chosen
from src.trackers.tracker import Evaluation, Sample, TrackedTraining, read_or_create
from src.train.initial_weights import create_network

SAMPLES = 8  # each of the most confident errors and of the first rows
FIGURE_SECONDS = 30.0  # with less than this left, the result is not drawn


@contextmanager
def tracked(context: RunContext, training: Training) -> Iterator[Trackers]:
    """The trackers of one training, which raise nothing. Where the block ends well, `track_result` closes them."""
    trackers = Trackers(context.log, context.broken_trackers)
    trackers.open(chosen(context.recipe.track), lambda: describe_training(context, training))
    try:
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise


def track_result(context: RunContext, trackers: Trackers, member: str) -> None:
    """Tells the trackers the result of a finished member, if there is time to draw it, and closes them."""
    if context.budget.left() > context.reserve + FIGURE_SECONDS:
        trackers.log_evaluation(lambda: evaluate(context, member))
    trackers.close()


def describe_training(context: RunContext, training: Training) -> TrackedTraining:
    """A training for the trackers: its names, and all settings with the architecture."""
    recipe, identity, member = context.recipe, context.identity, training.member
    group = read_or_create(context.folder.tracking_group, f"{recipe.name}-{secrets.token_hex(4)}")
    settings = config.as_dict(recipe)
    del settings["members"], settings["name"], settings["description"], settings["published"]
    described = settings | {
        "recipe": recipe.name,
        "member": config.as_dict(member) | {"seed": training.seed, "fold": training.fold},
        "architecture": describe_architecture(member),
        "run": vars(identity) | {"commit": context.request.code.commit, "device": str(context.inputs.device)},
    }
    return TrackedTraining(
        name=member.name,
        group=group,
        tags=(models.family(member.network), identity.data_digest, recipe.name),
        config=described,
        folder=context.folder.tracking,
        id_file=context.folder.wandb_id(member.name),
    )


def describe_architecture(member: Member) -> dict:
    """Family, parameters, input size and layers of the member's network."""
    with torch.device("meta"):  # shapes only
        net = create_network(member)
    return {
        "network": member.network,
        "family": models.family(member.network),
        "parameters": sum(p.numel() for p in net.parameters()),
        "image_size": member.image_size or models.native_image_size(member.network),
        "layers": str(net),
    }


def evaluate(context: RunContext, name: str) -> Evaluation:
    """The result of a finished training, from the files that it has left."""
    folder, faces = context.folder, context.data.train
    found, result = load_predictions(folder.predictions(name)), folder.read_results([name])[name]
    labels = faces.labels[found.valid_rows]
    shares = {"best_valid_accuracy": result.valid_accuracy, "best_valid_f1": result.valid_f1}
    summary = {name: 100 * value for name, value in shares.items() if np.isfinite(value)}
    counts = ("best_epoch", "epochs", "parameters", "images_per_second", "train_seconds")
    with safe_open(folder.weights_file(name), "pt") as weights:
        metadata = weights.metadata() or {}
    samples = [Sample(faces.images[found.valid_rows[i]], int(found.valid_rows[i]), int(labels[i]), found.valid[i])
               for i in choose_samples(labels, found.valid)]  # fmt: skip
    return Evaluation(
        epoch=result.best_epoch,
        labels=labels,
        probs=found.valid,
        samples=samples,
        summary=summary | {key: getattr(result, key) for key in counts},
        weights=folder.weights_file(name),
        metadata=metadata,
        pictures=lambda: draw_pictures(name, labels, found.valid, samples),
    )


def choose_samples(labels: np.ndarray, probs: np.ndarray) -> list[int]:
    """Positions of the most confident errors, then of the first other rows."""
    wrong = np.flatnonzero(probs.argmax(1) != labels)
    worst = wrong[np.argsort(-probs[wrong].max(1), kind="stable")][:SAMPLES].tolist()
    others = [i for i in range(min(len(labels), 2 * SAMPLES)) if i not in worst]
    return worst + others[:SAMPLES]


def draw_pictures(name: str, labels: np.ndarray, probs: np.ndarray, samples: list[Sample]) -> dict[str, np.ndarray]:
    """Confusion matrix, curves and samples as images uint8 (h, w, 3) by name; nothing without validation rows."""
    if not len(labels):
        return {}
    figures = {
        "confusion_matrix": confusion_figure(name, labels, probs),
        "precision_recall": precision_recall_figure(labels, probs),
        "roc": roc_figure(labels, probs),
    }
    content = {title: figure.png for title, figure in figures.items()}
    content["samples"] = FaceGrid("samples", [sample_face(sample) for sample in samples]).png()
    return {title: np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for title, png in content.items()}


def sample_face(sample: Sample) -> Face:
    """A sample with its label, and its prediction in per cent."""
    predicted = int(sample.probs.argmax())
    said = f"{CLASS_NAMES[predicted]} {100 * sample.probs[predicted]:.1f} %"
    mark = "right" if predicted == sample.label else "wrong"
    return Face(sample.image, (f"label {CLASS_NAMES[sample.label]}", said), mark)
