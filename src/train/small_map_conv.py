"""Convolutions over maps of up to 3 pixels a side, as one matrix product for each kernel tap and run of pixels.

A 3x3 kernel over 2x2 pixels spends 5 of 9 multiplications on the zeros of the padding, over 3x3 pixels 32 of 81. Here
each tap meets only the pixels under it: 1.6 times as many steps of `resnet18_adam` in the same time (float32, LOG.md).
"""

from functools import cache
from itertools import product

import torch
from torch import Tensor, nn

MIN_CHANNELS = 32  # with fewer channels the products are too small to pay
MAX_SIDE, MAX_SIDE_STRIDED = 3, 2  # of the output, at stride 1 and above


def replace_small_map_convs(net: nn.Module) -> None:
    """Puts a SmallMapConv2d with the same parameters in the place of each Conv2d that may see small maps.

    Names, weights and random state stay the same. CPUs with AVX512, which mostly train in bf16, keep torch's layers.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        return
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2d and is_supported(layer):
                setattr(parent, name, SmallMapConv2d(layer))


def is_supported(layer: nn.Conv2d) -> bool:
    """Whether a layer has a square kernel, zeros around the input, enough channels, and no groups or dilation."""
    square = all(isinstance(v, tuple) and v[0] == v[1] for v in (layer.kernel_size, layer.stride, layer.padding))
    usual = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros" and layer.padding != (0, 0)
    return square and usual and min(layer.in_channels, layer.out_channels) >= MIN_CHANNELS


class SmallMapConv2d(nn.Conv2d):
    """A Conv2d that multiplies tap by tap where its output is small, and as torch does elsewhere."""

    def __init__(self, layer: nn.Conv2d):
        sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        super().__init__(*sizes, bias=layer.bias is not None, device="meta")  # draws no random numbers
        self.weight, self.bias = layer.weight, layer.bias
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) → (n, k, h', w'), equal to torch's to about 1e-5 of the outputs' deviation."""
        kernel, stride, padding = self.kernel_size[0], self.stride[0], self.padding[0]
        largest = MAX_SIDE if stride == 1 else MAX_SIDE_STRIDED
        small = x.shape[2] == x.shape[3] and output_side(x.shape[2], kernel, stride, padding) <= largest
        if not small or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        out = TapProducts.apply(x, self.weight, stride, padding)
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)


class TapProducts(torch.autograd.Function):
    """The convolution without bias over square maps, and its two gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """x (n, c, h, h), weight (k, c, r, r) → (n, k, h', h')."""
        shape = (x.shape[-1], weight.shape[-1], stride, padding)
        ctx.save_for_backward(x, weight)
        ctx.runs, side, pixels = runs(*shape), output_side(*shape), pixels_first(x)
        out = x.new_zeros(side**2, len(x), len(weight))
        for row, column, to, of in ctx.runs:
            out[to].flatten(0, 1).addmm_(pixels[of].flatten(0, 1), weight[:, :, row, column].T)
        return images_first(out, side)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        """grad (n, k, h', h') → gradients of x and weight."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, *_ = ctx.needs_input_grad
        pixels, grad = pixels_first(x), pixels_first(grad)
        x_grad = torch.zeros_like(pixels) if needs_x else None
        weight_grad = weight.new_zeros(*weight.shape[2:], *weight.shape[:2]) if needs_weight else None
        for row, column, to, of in ctx.runs:
            if needs_x:
                x_grad[of].flatten(0, 1).addmm_(grad[to].flatten(0, 1), weight[:, :, row, column])
            if needs_weight:
                weight_grad[row, column].addmm_(grad[to].flatten(0, 1).T, pixels[of].flatten(0, 1))
        x_grad = images_first(x_grad, x.shape[-1]) if needs_x else None
        return x_grad, weight_grad.permute(2, 3, 0, 1) if needs_weight else None, None, None


def output_side(side: int, kernel: int, stride: int, padding: int) -> int:
    """The side of the output map."""
    return (side + 2 * padding - kernel) // stride + 1


@cache
def runs(side: int, kernel: int, stride: int, padding: int) -> list[tuple[int, int, slice, slice]]:
    """Row and column of each tap, the output pixels that it adds to, and the input pixels that it reads."""
    out, found = output_side(side, kernel, stride, padding), []
    for row, column in product(range(kernel), repeat=2):
        lengths = []  # [first output pixel, first input pixel, number of pixels]
        for pixel in range(out**2):
            y, x = pixel // out * stride + row - padding, pixel % out * stride + column - padding
            if not (0 <= y < side and 0 <= x < side):
                continue
            if lengths and [pixel, y * side + x] == [start + lengths[-1][2] for start in lengths[-1][:2]]:
                lengths[-1][2] += 1
            else:
                lengths.append([pixel, y * side + x, 1])
        found += [(row, column, slice(to, to + n), slice(of, of + n)) for to, of, n in lengths]
    return found


def pixels_first(images: Tensor) -> Tensor:
    """(n, c, h, w) → (h * w, n, c)."""
    n, c, h, w = images.shape
    return images.permute(2, 3, 0, 1).reshape(h * w, n, c).contiguous()


def images_first(pixels: Tensor, height: int) -> Tensor:
    """(h * w, n, c) → (n, c, h, w), channels last."""
    images = pixels.transpose(0, 1).contiguous()
    return images.view(len(images), height, -1, pixels.shape[2]).permute(0, 3, 1, 2)
