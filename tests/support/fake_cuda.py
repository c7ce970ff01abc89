"""Two GPUs without a GPU: tensors on `cuda:0` and `cuda:1` have a shape, a type and a device, but no values.

They are those of torch's FakeTensorMode; tensors on the CPU stay real. An operation that mixes devices fails as on a
GPU. What lets the host wait for the device gives a made-up value and is noted in `waits`. Three parts of torch need a
real GPU and are replaced here: the engine of `backward`, random generators, and the fused SGD.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from src.dataset import NUM_CLASSES
from tests.conftest import ROOT

CUDA, SECOND = torch.device("cuda:0"), torch.device("cuda:1")
MADE_UP = 1 / NUM_CLASSES  # the value of each float that is read: each row of probabilities then adds up to 1
T4, P100, A100 = (7, 5), (6, 0), (8, 0)  # compute capabilities
PROJECT = tuple(str(ROOT / folder) for folder in ("src", "tests"))
aten = torch.ops.aten


class FakeCuda(TorchDispatchMode):
    """Runs each operation on the CPU's tensors as it is, and each one on a GPU without values.

    waits: where the host waited for the device: a value that is read, a copy from or to the CPU.
    convolved: the types of the tensors in convolutions.
    """

    def __init__(self):
        super().__init__()
        self.waits, self.convolved = [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given, device = tensors_in((args, kwargs)), kwargs.get("device")
        if not any(isinstance(t, FakeTensor) for t in given) and (device is None or device.type == "cpu"):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if torch.is_inference_mode_enabled() and is_composite(func):  # elsewhere torch has taken it apart before
            with self:
                return func.decompose(*args, **kwargs)
        check_lists(func, given)
        if func in (aten.convolution.default, aten.convolution_backward.default):
            self.convolved |= {t.dtype for t in given}
        if func in REPLACED:
            return REPLACED[func](self, *args, **kwargs)
        result = func(*args, **kwargs)
        if is_copy_between_devices(func, given, tensors_in(result)):
            self.wait(func)
        if func is aten.copy_.default and not isinstance(args[0], FakeTensor):
            return args[0]
        with unset_fake_temporarily():
            return tree_map(made_up_on_cpu, result)

    def wait(self, what: object) -> None:
        """Notes a wait, with the nearest line of the project."""
        frame = sys._getframe(1)
        while frame and (frame.f_code.co_filename == __file__ or not frame.f_code.co_filename.startswith(PROJECT)):
            frame = frame.f_back
        where = f" at {frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}" if frame else ""
        self.waits.append(f"{what}{where}")


def tensors_in(values: object) -> list[Tensor]:
    """Every tensor in nested lists and dicts."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def check_lists(func: torch._ops.OpOverload, given: list[Tensor]) -> None:
    """Raises where an operation on lists of tensors gets some on another device: FakeTensorMode does not check it."""
    if func.name().startswith(("aten::_foreach_", "aten::_fused_")) and len({t.device for t in given}) > 1:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")


def is_composite(func: torch._ops.OpOverload) -> bool:
    """Whether an operation consists of others on each device."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return func.namespace == "aten" and has_kernel(func.name(), "CompositeImplicitAutograd")


def is_copy_between_devices(func: torch._ops.OpOverload, given: list[Tensor], made: list[Tensor]) -> bool:
    """Whether an operation has tensors on both devices. A number on the CPU as one of several operands is no copy."""
    many = len(given) > 1 and func is not aten.copy_.default
    return len({t.device.type for t in (*given, *made) if not (many and t.dim() == 0 and t.device.type == "cpu")}) > 1


def made_up_on_cpu(value: object) -> object:
    """A real tensor with made-up values, if the value is a fake tensor on the CPU; else the value itself."""
    if not isinstance(value, FakeTensor) or value.device.type != "cpu":
        return value
    if value.is_floating_point():
        return torch.full(value.shape, MADE_UP, dtype=value.dtype)
    return torch.randint(2, value.shape, dtype=value.dtype)


def item(gpu: FakeCuda, tensor: Tensor) -> bool | int | float:
    """Tensor.item(), and all that calls it: float(), int(), bool(), tolist(), format()."""
    gpu.wait("item")
    return MADE_UP if tensor.is_floating_point() else False if tensor.dtype == torch.bool else 0


def bincount(gpu: FakeCuda, tensor: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """torch.bincount reads the largest value, to know how long the result is. Here that is `minlength`."""
    gpu.wait("bincount")
    return tensor.new_empty(minlength)


def fused_sgd(gpu: FakeCuda, *lists: list[Tensor], **settings) -> None:
    """torch.optim.SGD(fused=True) has no kernel for fake tensors. It changes its weights in place."""


REPLACED = {
    aten._local_scalar_dense.default: item,
    aten.bincount.default: bincount,
    aten._fused_sgd_.default: fused_sgd,
}


class Generator(torch.Generator):
    """A random generator that says it is on `device`."""

    def __new__(cls, device: torch.device | str = "cpu"):
        generator = super().__new__(cls)
        generator.where = torch.device(device)
        return generator

    device = property(lambda self: self.where)


class PythonCalls(TorchFunctionMode):
    """Replaces Tensor.backward, and compares the device of a generator with that of the random tensor."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is Tensor.backward and args[0].device.type == "cuda":
            return backward(args[0])
        result, generator = func(*args, **kwargs), kwargs.get("generator")
        if generator is not None and generator.device.type != result.device.type:
            raise RuntimeError(f"Expected a '{result.device.type}' generator but found '{generator.device.type}'")
        return result


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """Tensor.backward() of a scalar without torch's engine: calls the nodes of the graph one after the other."""
    assert loss.dim() == 0 and loss.grad_fn is not None, "a loss is a scalar with a graph"
    received = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in from_loss_to_leaves(loss.grad_fn):
        inputs = received.pop(node, {})
        grads = [fitted(inputs[i], meta) if i in inputs else None for i, meta in enumerate(node._input_metadata)]
        if hasattr(node, "variable"):
            leaf = node.variable
            leaf.grad = grads[0] if leaf.grad is None else leaf.grad + grads[0]
            continue
        results = node(*grads)
        results = results if isinstance(results, tuple) else (results,)
        for (following, number), grad in zip(node.next_functions, results, strict=True):
            if following is not None and grad is not None:
                slots = received.setdefault(following, {})
                slots[number] = slots[number] + grad if number in slots else grad


def fitted(grad: Tensor, meta) -> Tensor:
    """The gradient with the shape and type of the tensor that it belongs to, as torch's engine makes it."""
    assert grad.device == meta.device, f"a gradient on {grad.device} for a tensor on {meta.device}"
    return grad.sum_to_size(meta.shape).to(meta.dtype)


def from_loss_to_leaves(root) -> list:
    """The nodes of a graph; each one comes after all that give it a gradient."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, is_left = stack.pop()
        if is_left:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((following, False) for following, _ in node.next_functions if following)]
    return order[::-1]


def with_real_tensors(function: Callable) -> Callable:
    """The function outside FakeTensorMode, in which torch.load would give fake tensors."""

    def call(*args, **kwargs):
        with unset_fake_temporarily():
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def fake_cuda(capability: tuple[int, int] = T4) -> Iterator[FakeCuda]:
    """A machine with two GPUs of that compute capability."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # by copy.deepcopy
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "load", with_real_tensors(torch.load))
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        answers = {
            "device_count": 2,
            "get_device_name": "Made-up GPU",
            "get_device_capability": capability,
            "is_bf16_supported": True,  # torch says so of a T4 too
            "get_rng_state": torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": None,
        }
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
        with FakeTensorMode(allow_non_fake_inputs=True), FakeCuda() as gpu, PythonCalls():
            yield gpu
