"""Convolutions over maps of a few pixels, as one matrix product for each tap of the kernel and run of pixels.

A 3x3 kernel over a map of 2x2 pixels multiplies 5 times of 9 with the zeros of the padding, over 3x3 pixels 32 times
of 81. Here each tap meets the pixels under it alone. Pixels come first and images second, so that a run of pixels is
one matrix (pixels * images, channels), and the products add up in place.
"""

from collections.abc import Iterator
from functools import cache

from torch import Tensor

NARROW = 32  # channels from which the products are large enough to pay
TINY, TINY_STRIDED = 3, 2  # sides of the outputs up to which they pay, at stride 1 and above it
SMALL, MANY = 12, 128  # sides up to which they pay for the gradient of the weights alone, from so many channels


def side(size: int, kernel: int, stride: int, padding: int) -> int:
    """The outputs' side."""
    return (size + 2 * padding - kernel) // stride + 1


def pay(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether these products are fewer enough, by the shapes alone."""
    (outputs, inputs, kernel, _), (height, width) = weight.shape, x.shape[-2:]
    few = side(height, kernel, stride, padding) <= (TINY if stride == 1 else TINY_STRIDED)
    return few and height == width and padding > 0 and min(inputs, outputs) >= NARROW


def pay_for_weights(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether they pay for the gradient of the weights, which costs the library more than the other two."""
    height, width = x.shape[-2:]
    many = stride == 1 and padding > 0 and height == width <= SMALL and min(weight.shape[:2]) >= MANY
    return many or pay(x, weight, stride, padding)


@cache
def runs(size: int, kernel: int, stride: int, padding: int) -> list[tuple[int, int, slice, slice]]:
    """Each tap's row and column, with the output pixels that it adds to and the input pixels that it meets."""
    return [
        (row, column, slice(start, start + length), slice(first, first + length))
        for row in range(kernel)
        for column in range(kernel)
        for start, first, length in pairs(row, column, size, kernel, stride, padding)
    ]


def pairs(row: int, column: int, size: int, kernel: int, stride: int, padding: int) -> Iterator[tuple[int, int, int]]:
    """Runs of a tap, as long as they get: first output pixel, first input pixel, how many follow each other in both."""
    out, run = side(size, kernel, stride, padding), None
    for pixel in range(out * out):
        y, x = pixel // out * stride + row - padding, pixel % out * stride + column - padding
        if not (0 <= y < size and 0 <= x < size):
            continue
        if run and (pixel, y * size + x) == (run[0] + run[2], run[1] + run[2]):
            run = (*run[:2], run[2] + 1)
            continue
        if run:
            yield run
        run = (pixel, y * size + x, 1)
    if run:
        yield run


def pixels_first(images: Tensor) -> Tensor:
    """(n, c, h, w) → (h * w, n, c)."""
    n, c, h, w = images.shape
    return images.permute(2, 3, 0, 1).reshape(h * w, n, c).contiguous()


def images_first(pixels: Tensor, height: int) -> Tensor:
    """(h * w, n, c) → (n, c, h, w), channels last where there is one image or many."""
    images = pixels.transpose(0, 1).contiguous()
    return images.view(len(images), height, -1, pixels.shape[2]).permute(0, 3, 1, 2)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """The convolution: x (n, c, h, h), weight (k, c, r, r) → (n, k, h', h')."""
    size, (outputs, _, kernel, _) = x.shape[-1], weight.shape
    out, x = side(size, kernel, stride, padding), pixels_first(x)
    found = x.new_zeros(out * out, x.shape[1], outputs) if bias is None else bias.repeat(out * out, x.shape[1], 1)
    for row, column, to, of in runs(size, kernel, stride, padding):
        found[to].flatten(0, 1).addmm_(x[of].flatten(0, 1), weight[:, :, row, column].T)
    return images_first(found, out)


def input_gradient(x: Tensor, grad: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the input: grad (n, k, h', h') → (n, c, h, h)."""
    size, (_, inputs, kernel, _), grad = x.shape[-1], weight.shape, pixels_first(grad)
    found = grad.new_zeros(size * size, grad.shape[1], inputs)
    for row, column, of, to in runs(size, kernel, stride, padding):
        found[to].flatten(0, 1).addmm_(grad[of].flatten(0, 1), weight[:, :, row, column])
    return images_first(found, size)


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the weights: (k, c, r, r)."""
    size, (outputs, inputs, kernel, _) = x.shape[-1], weight.shape
    x, grad = pixels_first(x), pixels_first(grad)
    found = x.new_zeros(kernel, kernel, outputs, inputs)
    for row, column, to, of in runs(size, kernel, stride, padding):
        found[row, column].addmm_(grad[to].flatten(0, 1).T, x[of].flatten(0, 1))
    return found.permute(2, 3, 0, 1)
