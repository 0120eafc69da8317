"""Products of many rows of activations: each weight is decoded once, used for all rows, and forgotten.

Two ways. On a processor with AMX or AVX-512 BF16 the core does it all: every thread decodes panels of the
weight into the layout of its instructions, which stay in its cache, and runs the rows of x past them.
Elsewhere a panel of rows of W is decoded into a workspace and multiplied by PyTorch's dense product.
"""

import threading
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from kbit import _core
from kbit.formats.packed import PackedTensor
from kbit.kernels.core import prepared

PANEL_WEIGHTS = 1 << 21
"""Weights decoded at once for a dense product, or one row's where a row is longer. Measured: panels of a
quarter of it cost a dense product a third of its speed."""

PANEL_BYTES = PANEL_WEIGHTS * 4
"""The workspace that a thread of Python keeps for panels, in float32; bfloat16 takes half."""

_DIRECT = (torch.bfloat16, torch.float32)
_held = threading.local()


def core_panels_serve(device: str, dtype: torch.dtype) -> bool:
    """Whether the core multiplies many rows of this type by itself here."""
    return device == "cpu" and dtype == torch.bfloat16 and bool(_core.long_products())


def core_panels_workspace_bytes() -> int:
    """What the threads of a product in the core keep, all of them together, at most."""
    return int(_core.long_workspace_bytes()) * torch.get_num_threads()


def panels_serve(device: str, dtype: torch.dtype) -> bool:
    """Whether panels are decoded by the core."""
    return device == "cpu" and dtype in (*_DIRECT, torch.float16)


def core_panels_product(x: Tensor, packed: PackedTensor, bias: Tensor | None) -> Tensor:
    """Y = x W^T + bias in the core: W rounded to bfloat16, sums in float32, y rounded once.

    Args:
        x: bfloat16 [n, cols].
        packed: weights [rows, cols].
        bias: [rows] or None.

    Returns:
        bfloat16 [n, rows].
    """
    rows, cols = packed.shape
    if cols == 0:
        return panels_product(x, packed, bias)
    if x.stride(-1) != 1 and cols > 1:
        x = x.contiguous()
    wide_bias = None if bias is None else bias.detach().float().contiguous()
    y = torch.empty(x.shape[0], rows, dtype=torch.bfloat16)
    prepared(packed).long_multiply(
        x.data_ptr(),
        x.shape[0],
        x.stride(0),
        0 if wide_bias is None else wide_bias.data_ptr(),
        y.data_ptr(),
        torch.get_num_threads(),
    )
    return y


def panels_product(x: Tensor, packed: PackedTensor, bias: Tensor | None) -> Tensor:
    """Y = x W^T + bias by dense products with panels of W, rounded to x's type.

    Args:
        x: [n, cols], float32, bfloat16 or float16 (multiplied as float32: processors have no fast float16).
        packed: weights [rows, cols].
        bias: [rows] or None.

    Returns:
        [n, rows] in x's type.
    """
    wanted = x.dtype
    if wanted not in _DIRECT:
        x = x.float()
    bias = None if bias is None else bias.to(x.dtype)
    rows = packed.shape[0]
    y: Tensor | None = None
    for part, weights in _panels(packed, x.dtype):
        product = functional.linear(x, weights, None if bias is None else bias[part])
        if len(weights) == rows:
            return product.to(wanted)
        y = x.new_empty(x.shape[0], rows) if y is None else y
        y[:, part] = product
    return (x.new_empty(x.shape[0], rows) if y is None else y).to(wanted)


def panels_input_gradient(grad: Tensor, packed: PackedTensor) -> Tensor:
    """Grad W, the gradient with respect to the input, decoding panels again.

    Args:
        grad: [n, rows].
        packed: weights [rows, cols].

    Returns:
        [n, cols] in grad's type, summed over panels in float32.
    """
    wanted = grad.dtype
    if wanted not in _DIRECT:
        grad = grad.float()
    total = torch.zeros(grad.shape[0], packed.shape[1], dtype=torch.float32)
    for part, weights in _panels(packed, grad.dtype):
        total += grad[:, part] @ weights
    return total.to(wanted)


def _panels(packed: PackedTensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Parts of W in turn, each valid until the next."""
    rows, cols = packed.shape
    step = max(1, PANEL_WEIGHTS // max(1, cols))
    weight = prepared(packed)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        panel = _workspace(dtype, count * cols).view(count, cols)
        weight.decode(first, count, panel.data_ptr(), dtype == torch.bfloat16, torch.get_num_threads())
        yield slice(first, first + count), panel


def _workspace(dtype: torch.dtype, weights: int) -> Tensor:
    """Memory that a thread keeps for its next panel; more than a panel's is not kept."""
    needed = weights * dtype.itemsize
    held: Tensor | None = getattr(_held, "memory", None)
    if held is None or len(held) < needed:
        held = torch.empty(needed, dtype=torch.uint8)
        if needed <= PANEL_BYTES:
            _held.memory = held
    return held[:needed].view(dtype)
