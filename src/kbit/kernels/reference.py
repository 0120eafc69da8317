"""The product every other kernel is held against: decode a slice of rows, then a dense product."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from kbit.formats.decoding import decode
from kbit.formats.packed import PackedTensor

# Weights decoded at once. The workspace is at most 16 bytes for each of them (indices, values, spread
# scales), or that for one row where a row is longer.
SLICE_WEIGHTS = 1 << 20


def reference_product(x: Tensor, packed: PackedTensor, bias: Tensor | None) -> Tensor:
    """Y = x W^T + bias with at most one slice of W dense at a time.

    Weights are decoded in float32 and rounded to x's type, in which the product is taken, so the result
    is that of a dense layer of x's type whose weights were decoded beforehand.

    Args:
        x: [n, cols].
        packed: weights [rows, cols].
        bias: [rows] or None.

    Returns:
        [n, rows] in x's type.
    """
    y = torch.empty(x.shape[0], packed.shape[0], dtype=x.dtype, device=x.device)
    for rows in _slices(packed):
        part = None if bias is None else bias[rows].to(x.dtype)
        y[:, rows] = functional.linear(x, decode(packed, x.dtype, rows), part)
    return y


def reference_input_gradient(grad: Tensor, packed: PackedTensor) -> Tensor:
    """Grad W, the gradient with respect to the input, decoding slices again.

    Args:
        grad: [n, rows].
        packed: weights [rows, cols].

    Returns:
        [n, cols] in grad's type, summed over slices in float32.
    """
    total = torch.zeros(grad.shape[0], packed.shape[1], dtype=torch.float32, device=grad.device)
    for rows in _slices(packed):
        total += grad[:, rows] @ decode(packed, grad.dtype, rows)
    return total.to(grad.dtype)


def _slices(packed: PackedTensor) -> Iterator[slice]:
    rows, cols = packed.shape
    step = max(1, SLICE_WEIGHTS // max(1, cols))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
