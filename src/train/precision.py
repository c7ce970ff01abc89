"""The precision of a training, chosen by the capability of the device, with the reason."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from src.errors import UserError


@dataclass(frozen=True)
class Precision:
    """A name ("float32", "bf16", "fp16"), why it was chosen, and the device it is for."""

    name: str
    reason: str
    device: torch.device

    def autocast(self) -> AbstractContextManager:
        """The context for forward passes."""
        if self.name == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler. It is enabled for fp16 only, where small gradients would become 0."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_precision(requested: str, device: torch.device) -> Precision:
    """The precision for the device. requested: "auto" or a name. Raises UserError for fp16 on a CPU.

    Any other request is granted, even if the device only emulates it slowly.
    """
    if requested == "fp16" and device.type == "cpu":
        raise UserError("precision=fp16: a CPU trains in float32 or bf16; use precision=auto")
    if requested != "auto":
        return Precision(requested, "asked for", device)
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        what = "capability {}.{}".format(*capability)
        # torch.cuda.is_bf16_supported() is also True on a T4, which only emulates bf16.
        if capability >= (8, 0):
            return Precision("bf16", f"{what}: bf16 in hardware from 8.0", device)
        if capability >= (7, 0):
            return Precision("fp16", f"{what}: tensor cores for fp16, none for bf16", device)
        return Precision("float32", f"{what}: no tensor cores", device)
    if device.type == "cpu" and {"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags():
        return Precision("bf16", "this CPU multiplies in bf16", device)
    return Precision("float32", f"this {device.type} has no fast half precision", device)


def cpu_flags() -> set[str]:
    """The flags of the CPU in /proc/cpuinfo; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
