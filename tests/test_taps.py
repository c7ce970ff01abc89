"""Convolutions over tiny maps against the library's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from src.train import taps

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 6),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    images=st.integers(1, 3),
    bias=st.booleans(),
    last=st.booleans(),
)
def test_output_and_gradients_are_the_librarys(size, kernel, stride, padding, images, bias, last):
    if kernel > size + 2 * padding:
        return
    generator = torch.Generator().manual_seed(size + 10 * kernel + 100 * stride)
    x = torch.randn(images, 3, size, size, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, kernel, kernel, generator=generator, dtype=torch.float64)
    if last:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    x, weight = x.requires_grad_(), weight.requires_grad_()
    shift = torch.randn(4, generator=generator, dtype=torch.float64) if bias else None
    expected = F.conv2d(x, weight, shift, stride, padding)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    of_x, of_weight = torch.autograd.grad(expected, (x, weight), grad)
    with torch.no_grad():
        torch.testing.assert_close(taps.forward(x, weight, shift, stride, padding), expected)
        torch.testing.assert_close(taps.input_gradient(x, grad, weight, stride, padding), of_x)
        torch.testing.assert_close(taps.weight_gradient(x, grad, weight, stride, padding), of_weight)


@pytest.mark.parametrize(("size", "products"), [(2, 16), (3, 49)])
def test_no_product_is_with_the_paddings_zeros(size, products):
    met = sum(of.stop - of.start for _, _, of, _ in taps.runs(size, 3, 1, 1))
    assert met == products  # of 9 for each pixel


def test_runs_are_as_long_as_they_get():
    """The middle tap meets all pixels at once; one from the row above, all rows but one."""
    assert [(of, to) for row, column, of, to in taps.runs(3, 3, 1, 1) if (row, column) == (1, 1)] == [
        (slice(0, 9), slice(0, 9))
    ]
    assert [(of, to) for row, column, of, to in taps.runs(3, 3, 1, 1) if (row, column) == (0, 1)] == [
        (slice(3, 9), slice(0, 6))
    ]


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "expected"),
    [
        ((64, 2, 2), 3, 1, 1, True),
        ((64, 3, 3), 3, 1, 1, True),
        ((64, 4, 4), 3, 1, 1, False),
        ((64, 3, 3), 3, 2, 1, True),
        ((64, 6, 6), 3, 2, 1, False),
        ((16, 2, 2), 3, 1, 1, False),
        ((64, 3, 3), 3, 1, 0, False),
        ((64, 2, 3), 3, 1, 1, False),
    ],
)
def test_where_it_pays(shape, kernel, stride, padding, expected):
    assert taps.pay(torch.zeros(2, *shape), torch.zeros(64, shape[0], kernel, kernel), stride, padding) is expected


@pytest.mark.parametrize(("channels", "size", "expected"), [(128, 12, True), (64, 12, False), (128, 13, False)])
def test_for_many_channels_it_pays_for_the_weights_alone(channels, size, expected):
    x, weight = torch.zeros(1, channels, size, size), torch.zeros(128, channels, 3, 3)
    assert taps.pay_for_weights(x, weight, 1, 1) is expected and not taps.pay(x, weight, 1, 1)
    assert not taps.pay_for_weights(x, weight, 2, 1)
