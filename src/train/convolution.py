"""Convolutions on a CPU with fewer operations than the library's own, where the shape allows it.

torch's CPU convolutions multiply directly. Over maps of 6 to 24 pixels a side, NNPACK (which torch carries) needs a
fraction of the multiplications: 3x3 kernels by Winograd's transform (Lavin & Gray 2016), larger ones by Fourier's. It
has no gradient of the weights; that is a convolution too, of the inputs with the gradients as kernels, block by block.
NNPACK's own threads spin while they wait, on the cores that torch's need; so it is given one, and each of several
threads calls it for its part of the images, which pays for 5x5 kernels alone. Over maps of 2 or 3 pixels a side, many
products would be with the padding's zeros (`taps.py`). And where there is one input channel, or few pixels, the
gradient of the weights is fastest as one matrix product.

Which way is taken depends on shapes and the number of threads, never on a measurement: equal seeds give equal bits.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.train import taps

KERNELS, KERNELS_SHARED = (3, 5), (5,)  # for which the transforms pay, on one thread and on several
NARROW = 32  # channels from which the transforms pay
WIDE, TILE = 24, 6  # sides up to WIDE that are multiples of TILE: Winograd's tiles then hold no waste
SMALL = 3  # sides up to which the gradient of the weights is a matrix product


def accelerate(net: nn.Module) -> None:
    """Lets the network's convolutions take the faster way, in place; names and weights stay as they are.

    Does nothing on CPUs with other instructions than AVX2, for which it was not measured (benchmarks/convolution.py).
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX2" or not torch.backends.nnpack.is_available():
        return  # `is_available` has also made NNPACK ready, without which its convolutions fail
    threads = torch.get_num_threads()
    for number in (1, threads):  # the first number that a process sets is that of NNPACK's own threads, for good
        torch.set_num_threads(number)
    for layer in net.modules():
        if type(layer) is nn.Conv2d and plain(layer):
            layer.__class__ = Convolution


def plain(layer: nn.Conv2d) -> bool:
    """Whether a layer is a convolution with a square kernel larger than 1x1 and nothing special about it."""
    square = all(isinstance(v, tuple) and v[0] == v[1] for v in (layer.kernel_size, layer.stride, layer.padding))
    usual = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return square and usual and layer.kernel_size[0] > 1


class Convolution(nn.Conv2d):
    """torch's own layer with other arithmetic."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) → (n, k, h', w'), float32; as the library's to about 1e-4 of the outputs' deviation."""
        stride, padding = self.stride[0], self.padding[0]
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return Arithmetic.apply(x, self.weight, self.bias, stride, padding)


def transformed(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether NNPACK's transforms pay."""
    (outputs, inputs, kernel, _), (height, width) = weight.shape, x.shape[-2:]
    kernels = KERNELS if torch.get_num_threads() == 1 else KERNELS_SHARED
    same = stride == 1 and kernel in kernels and padding == kernel // 2
    return same and min(inputs, outputs) >= NARROW and height == width <= WIDE and height % TILE == 0


class Arithmetic(torch.autograd.Function):
    """The convolution and its three gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        if transformed(x, weight, stride, padding):
            return joined(spread(lambda part: nnpack(part, weight, bias, padding), x))
        if taps.pay(x, weight, stride, padding):
            return taps.forward(x, weight, bias, stride, padding)
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        shape = (weight, ctx.stride, ctx.padding)
        return (
            input_gradient(x, grad, *shape) if of_x else None,
            weight_gradient(x, grad, *shape) if of_weight else None,
            grad.sum((0, 2, 3)) if ctx.biased and of_bias else None,
            *(None, None),
        )


def nnpack(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """A convolution of stride 1 by NNPACK, which takes contiguous tensors alone."""
    return torch._nnpack_spatial_convolution(x.contiguous(), weight.contiguous(), bias, padding)


@cache
def helpers(number: int) -> ThreadPoolExecutor:
    """Threads that work beside the caller's, each with one thread of torch's."""
    return ThreadPoolExecutor(number, "convolution", initializer=lambda: torch.set_num_threads(1))


def spread(action: Callable[..., Tensor], *images: Tensor) -> list[Tensor]:
    """What the action gives for each thread's part of the images (n, …), computed at the same time."""
    parts = list(zip(*(t.chunk(torch.get_num_threads()) for t in images), strict=True))
    if len(parts) == 1:
        return [action(*images)]

    @torch.no_grad()  # which each thread has to say for itself
    def quietly(*part: Tensor) -> Tensor:
        return action(*part)

    others = [helpers(len(parts) - 1).submit(quietly, *part) for part in parts[1:]]
    return [quietly(*parts[0]), *(other.result() for other in others)]


def joined(parts: list[Tensor]) -> Tensor:
    """The parts as one tensor."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def library(x: Tensor, grad: Tensor, weight: Tensor, stride: int, padding: int, mask: list[bool]) -> tuple:
    """The library's own gradients; mask: of the input, the weight, the bias."""
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask
    )


def input_gradient(x: Tensor, grad: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the input: the gradients convolved with the kernels turned around."""
    if transformed(x, weight, stride, padding):
        turned = weight.flip(2, 3).transpose(0, 1).contiguous()
        return joined(spread(lambda part: nnpack(part, turned, None, padding), grad))
    if taps.pay(x, weight, stride, padding):
        return taps.input_gradient(x, grad, weight, stride, padding)
    return library(x, grad, weight, stride, padding, [True, False, False])[0]


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the weights, by the way that suits the shape."""
    if transformed(x, weight, stride, padding):
        return sum(spread(lambda *part: by_blocks(*part, padding), x, grad))
    if taps.pay_for_weights(x, weight, stride, padding):
        return taps.weight_gradient(x, grad, weight, stride, padding)
    if x.shape[1] == 1 or grad.shape[-1] <= SMALL:
        return by_product(x, grad, weight.shape[-1], stride, padding)
    return library(x, grad, weight, stride, padding, [False, True, False])[1]


def by_blocks(x: Tensor, grad: Tensor, padding: int) -> Tensor:
    """The gradient of the weights of a convolution of stride 1 that keeps the side, as one of inputs with gradients.

    The images' blocks stand where channels stand else: sum over them is what a convolution does with its channels. A
    block of gradients is as large as, with the inputs it meets, fits one of NNPACK's Fourier tiles (8 or 16 a side).
    """
    (images, inputs, side, _), outputs, kernel = x.shape, grad.shape[1], 2 * padding + 1
    block = min((8 if kernel == 3 else 16) - kernel + 1, side)
    count = -(-side // block)
    more, window = count * block - side, block + kernel - 1
    wide = F.pad(x.contiguous(), (padding, padding + more) * 2)
    grad = F.pad(grad, (0, more) * 2) if more else grad.contiguous()
    grad = grad.reshape(images, outputs, count, block, count, block)
    n, c, h, w = wide.stride()
    strides, shape = (c, n, h * block, w * block, h, w), (inputs, images, count, count, window, window)
    blocks = wide.as_strided(shape, strides).reshape(inputs, -1, window, window)
    kernels = grad.permute(1, 0, 2, 4, 3, 5).reshape(outputs, -1, block, block)
    return nnpack(blocks, kernels, None, 0).transpose(0, 1)


def by_product(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The gradient of the weights as one matrix product: gradients (outputs, positions) by windows of the input."""
    (images, outputs, height, width), inputs = grad.shape, x.shape[1]
    last = F.pad(x, (padding,) * 4).permute(0, 2, 3, 1).contiguous()  # channels last
    n, h, w, c = last.stride()
    shape, strides = (images, height, width, kernel, kernel, inputs), (n, h * stride, w * stride, h, w, c)
    windows = last.as_strided(shape, strides).reshape(images * height * width, -1)
    rows = grad.permute(0, 2, 3, 1).reshape(-1, outputs)
    return (rows.T @ windows).view(outputs, kernel, kernel, inputs).permute(0, 3, 1, 2)
