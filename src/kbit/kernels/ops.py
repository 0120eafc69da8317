"""Operators that `torch.compile` sees through: `kbit::product`, `kbit::input_gradient`, `kbit::unpack_rows`.

They take the stored parts as plain tensors, as bits (integers) or in their own types: a compiled graph holds
tensors and constants only. Outside a compiled graph nothing goes through them: a call of an operator
written in Python takes longer than a small product.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from kbit.errors import FormatError
from kbit.formats import decode, parse_format
from kbit.formats.packed import PACKED_PARTS, PackedTensor, part_layout
from kbit.kernels.product import product
from kbit.kernels.registry import kernel_for

# A packed tensor and what kernels prepare for it, kept while its codes live.
_seen: Any = WeakTensorKeyDictionary()


def _packed(parts: tuple[Tensor | None, ...], text: str, rows: int, cols: int) -> PackedTensor:
    codes = parts[0]
    if codes is None:
        raise FormatError(f"a {text} tensor of shape [{rows}, {cols}] needs codes")
    where = tuple(None if part is None else part.data_ptr() for part in parts)
    found = _seen.get(codes)
    if found is not None and found[0] == (where, text, rows, cols):
        known: PackedTensor = found[1]
        return known
    fmt = parse_format(text)
    layout = part_layout(fmt, (rows, cols))
    given = {name: part for name, part in zip(PACKED_PARTS, parts, strict=True) if part is not None}
    # Made of views: the parts of a module are parameters, which need no gradient.
    views = {
        name: part.detach().view(layout[name][1]) if name in layout else part for name, part in given.items()
    }
    packed = PackedTensor(format=fmt, shape=(rows, cols), **views)
    _seen[codes] = ((where, text, rows, cols), packed)
    return packed


@torch.library.custom_op("kbit::product", mutates_args=())
def product_op(
    x: Tensor,
    bias: Tensor | None,
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    table: Tensor | None,
    second_scales: Tensor | None,
    second_offsets: Tensor | None,
    weight_format: str,
    rows: int,
    cols: int,
    numerics: str,
) -> Tensor:
    """`kbit.kernels.product` of x [..., cols] with the parts in the order of `PACKED_PARTS`."""
    with torch.no_grad():
        return product(
            x,
            _packed(
                (codes, scales, offsets, table, second_scales, second_offsets), weight_format, rows, cols
            ),
            bias=bias,
        )


@torch.library.custom_op("kbit::input_gradient", mutates_args=())
def input_gradient_op(
    grad: Tensor,
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    table: Tensor | None,
    second_scales: Tensor | None,
    second_offsets: Tensor | None,
    weight_format: str,
    rows: int,
    cols: int,
) -> Tensor:
    """Grad W: from grad [..., rows] to [..., cols], in grad's type."""
    packed = _packed(
        (codes, scales, offsets, table, second_scales, second_offsets), weight_format, rows, cols
    )
    flat = grad.reshape(-1, rows).contiguous()
    kernel = kernel_for(packed.format, device=grad.device.type, dtype=grad.dtype, rows=len(flat))
    return kernel.input_gradient(flat, packed).reshape(*grad.shape[:-1], cols)


@torch.library.custom_op("kbit::unpack_rows", mutates_args=())
def unpack_rows_op(
    numbers: Tensor,
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    table: Tensor | None,
    second_scales: Tensor | None,
    second_offsets: Tensor | None,
    weight_format: str,
    rows: int,
    cols: int,
    dtype: torch.dtype,
) -> Tensor:
    """Rows by number: int64 [...] to [..., cols], each distinct row unpacked once."""
    distinct, where = torch.unique(numbers, return_inverse=True)
    return decode(
        _packed((codes, scales, offsets, table, second_scales, second_offsets), weight_format, rows, cols),
        dtype,
        rows=distinct,
    )[where]


@product_op.register_fake
def _(
    x: Tensor,
    bias: Tensor | None,
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    table: Tensor | None,
    second_scales: Tensor | None,
    second_offsets: Tensor | None,
    weight_format: str,
    rows: int,
    cols: int,
    numerics: str,
) -> Tensor:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return x.new_empty(*x.shape[:-1], rows, dtype=dtype)


@input_gradient_op.register_fake
def _(
    grad: Tensor,
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    table: Tensor | None,
    second_scales: Tensor | None,
    second_offsets: Tensor | None,
    weight_format: str,
    rows: int,
    cols: int,
) -> Tensor:
    return grad.new_empty(*grad.shape[:-1], cols)


@unpack_rows_op.register_fake
def _(
    numbers: Tensor,
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    table: Tensor | None,
    second_scales: Tensor | None,
    second_offsets: Tensor | None,
    weight_format: str,
    rows: int,
    cols: int,
    dtype: torch.dtype,
) -> Tensor:
    return numbers.new_empty(*numbers.shape, cols, dtype=dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, bias, *parts, ctx.weight_format, ctx.rows, ctx.cols, _ = inputs
    ctx.missing = [part is None for part in parts]
    ctx.x_type, ctx.bias_type = x.dtype, None if bias is None else bias.dtype
    ctx.save_for_backward(*(part for part in parts if part is not None))


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    kept = iter(ctx.saved_tensors)
    parts = [None if missing else next(kept) for missing in ctx.missing]
    to_x = to_bias = None
    if ctx.needs_input_grad[0]:
        to_x = torch.ops.kbit.input_gradient(grad, *parts, ctx.weight_format, ctx.rows, ctx.cols).to(
            ctx.x_type
        )
    if ctx.needs_input_grad[1]:
        to_bias = grad.reshape(-1, ctx.rows).sum(dim=0).to(ctx.bias_type)
    return to_x, to_bias, *([None] * len(parts)), None, None, None, None


product_op.register_autograd(_backward, setup_context=_keep)
