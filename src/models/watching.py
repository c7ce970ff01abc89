"""Watches a network during one pass, and leaves it as it was."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn


@contextmanager
def watched(net: nn.Module, before: Callable | None, after: Callable | None) -> Iterator[None]:
    """A block in which each module calls before(module, inputs) and after(module, inputs, output)."""
    with ExitStack() as stack:
        for module in net.modules():
            if before:
                stack.callback(module.register_forward_pre_hook(before).remove)
            if after:
                stack.callback(module.register_forward_hook(after).remove)
        yield


@contextmanager
def in_evaluation(net: nn.Module) -> Iterator[None]:
    """A block in which the network is in evaluation mode; then each module is in the mode that it had."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
