"""Targets that are the mean of a label and of what earlier networks predicted for the image.

Predictions of networks that did not learn the image (out-of-fold) say more than its label does where labels are noisy
(self-distillation: Hinton et al. 2015, "Distilling the knowledge in a neural network"; Furlanello et al. 2018,
"Born-again neural networks").
"""

import torch
from torch import Tensor

from src.config import Member
from src.dataset import NUM_CLASSES


def soft_target_rows(labels: Tensor, probabilities: Tensor, member: Member) -> Tensor:
    """(1 - weight) × smoothed label + weight × predicted probabilities, float32 (n, 7), by the member's settings.

    labels: int64 (n,); probabilities: float32 (n, 7), on the same device.
    """
    predicted = with_temperature(probabilities, member.soft_target_temperature)
    return torch.lerp(smoothed_rows(labels, member.label_smoothing), predicted, member.soft_target_weight)


def smoothed_rows(labels: Tensor, smoothing: float) -> Tensor:
    """Labels int64 (n,) as rows of class probabilities, float32 (n, 7), with label smoothing."""
    one_hot = torch.eye(NUM_CLASSES, device=labels.device)[labels]
    return one_hot * (1 - smoothing) + smoothing / NUM_CLASSES


def with_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """The probabilities (n, 7) with their logits divided by a temperature: above 1 flatter, below 1 sharper."""
    return (probabilities.clamp(min=1e-7).log() / temperature).softmax(1)
