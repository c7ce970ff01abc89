"""The reference notebooks' way to train, as a student would write it: what the kit's speed is measured against.

A torch Dataset sends each image through PIL transforms, a DataLoader with two workers makes batches, float32, the loss
and the hits are asked for at each step.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from src import models
from src.config import Augment, Member
from src.dataset import PIXEL_MEAN, PIXEL_STD


def transform(augment: Augment) -> Callable:
    """The library's transforms for the same augmentation."""
    steps = []
    if augment.flip:
        steps.append(transforms.RandomHorizontalFlip(augment.flip))
    if augment.rotation:
        steps.append(transforms.RandomRotation(augment.rotation, transforms.InterpolationMode.BILINEAR))
    if augment.shift or augment.scale or augment.shear:
        shift, scale = (augment.shift, augment.shift), (1 - augment.scale, 1 + augment.scale)
        way = transforms.InterpolationMode.BILINEAR
        steps.append(transforms.RandomAffine(0, shift, scale, augment.shear or None, way))
    if augment.brightness or augment.contrast:
        steps.append(transforms.ColorJitter(augment.brightness, augment.contrast))
    steps += [transforms.ToTensor(), transforms.Normalize([PIXEL_MEAN], [PIXEL_STD])]
    if augment.erase:
        steps.append(transforms.RandomErasing(augment.erase))
    return transforms.Compose(steps)


class Faces(Dataset):
    """uint8 images (n, 48, 48) and labels, one image at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, change: Callable):
        self.images, self.labels, self.change = images, labels, change

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.change(Image.fromarray(self.images[row])), int(self.labels[row])


class Reference:
    """One member trained the reference way: `epoch` gives its mean loss and accuracy."""

    def __init__(self, member: Member, images: np.ndarray, labels: np.ndarray, device: torch.device, seed: int = 0):
        torch.manual_seed(seed)
        self.device = device
        self.net = models.create(member.network, member.dropout, member.image_size, member.normalization).to(device)
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        more = {"momentum": member.momentum} if member.optimizer == "sgd" else {}
        self.optimizer = kinds[member.optimizer](
            self.net.parameters(), lr=member.lr, weight_decay=member.weight_decay, **more
        )
        faces = Faces(images, labels, transform(member.augment))
        self.batches = DataLoader(faces, member.batch_size, shuffle=True, num_workers=2, persistent_workers=True)

    def epoch(self) -> tuple[float, float]:
        """Trains one epoch."""
        self.net.train()
        losses, hits, seen = 0.0, 0, 0
        for x, y in self.batches:
            x, y = x.to(self.device), y.to(self.device)
            self.optimizer.zero_grad()
            logits = self.net(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            self.optimizer.step()
            losses += loss.item() * len(y)
            hits += (logits.argmax(1) == y).sum().item()
            seen += len(y)
        return losses / seen, hits / seen

    @torch.no_grad()
    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Validation accuracy, in batches of the same size."""
        self.net.eval()
        faces = Faces(images, labels, transform(Augment()))
        right = 0
        for x, y in DataLoader(faces, 64, num_workers=2):
            right += (self.net(x.to(self.device)).argmax(1).cpu() == y).sum().item()
        return right / len(labels)
