"""Records where a network looks while it trains: maps of eight fixed faces after some epochs."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.data.augment import preprocess
from src.errors import UserError
from src.models.watching import in_evaluation
from src.report.attention import maps_of, scaled
from src.report.attention_history import AttentionHistory, fixed_faces, load_attention, save_attention, with_epoch
from src.run.context import RunContext
from src.train.trainer import TrainJob


def attention_recorder(context: RunContext, job: TrainJob) -> Callable[[nn.Module, int], None]:
    """What to call with the evaluated network after each epoch: it records the first one and each n-th.

    n is the setting `attention_maps_every`; 0 records nothing. The faces are validation faces, else training faces.
    What fails is a warning in the log: the training does not depend on it, and stays bitwise the same.
    """
    every, file = context.recipe.attention_maps_every, context.folder.attention_maps(job.member.name)
    if not every:
        return lambda net, epoch: None
    faces = job.valid if len(job.valid.labels) else job.train
    rows = torch.from_numpy(fixed_faces(faces.labels.cpu().numpy())).to(faces.images.device)
    images, labels = faces.images[rows], faces.labels[rows]

    def record(net: nn.Module, epoch: int) -> None:
        if epoch > 1 and epoch % every:
            return
        try:
            add_epoch(file, epoch, net, images, labels)
        except Exception as error:  # whatever it is: memory, the disk, a network of timm with unusual layers
            context.log(f"warning: {job.member.name}: no maps of epoch {epoch} ({type(error).__name__}: {error})")

    return record


def add_epoch(file: Path, epoch: int, net: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Adds the maps of the network after an epoch to the file; entries of this and of later epochs are replaced.

    images: uint8 (f, 1, h, w), and labels int64 (f,), on the network's device. Nothing of the network or of torch's
    generators changes. Raises OSError where the file cannot be written.
    """
    maps = {kind: np.stack([scaled(one) for one in found])[None] for kind, found in maps_of(net, images).items()}
    with in_evaluation(net), torch.no_grad():
        probs = net(preprocess(images)).float().softmax(1).cpu().numpy()[None]
    faces = images.squeeze(1).cpu().numpy(), labels.cpu().numpy()
    history = AttentionHistory(*faces, np.array([epoch]), probs, maps)
    with contextlib.suppress(UserError):  # none yet, or damaged: it begins with this epoch
        history = with_epoch(load_attention(file), history)
    save_attention(file, history)
