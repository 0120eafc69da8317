"""The one product: y = x W^T + bias with packed weights, differentiable in x and bias."""

from typing import Any

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.packed import PackedTensor
from kbit.kernels.registry import Kernel, kernel_for


def product(x: Tensor, packed: PackedTensor, *, bias: Tensor | None = None, numerics: str = "a16") -> Tensor:
    """Multiply with packed weights.

    The kernel is chosen by format, device, type and number of rows of x; all of the same numerics agree
    within the rounding of x's type.
    Gradients flow to x and to the bias; weights are decoded again in the backward pass, so nothing
    dense is kept. Under autocast the product is taken in the autocast type.

    Args:
        x: [..., cols], floating point.
        packed: weights [rows, cols], on x's device.
        bias: [rows] or None.
        numerics: `a16` multiplies x as it is; `a8` rounds it to 8 bits in blocks of 64 first.

    Returns:
        [..., rows] in x's type (or the autocast type).

    Raises:
        FormatError: shapes, types or devices that do not go together, or unknown numerics.

    >>> from kbit.formats import encode, parse_format
    >>> packed = encode(7 * torch.eye(2), parse_format("int4:row"))
    >>> product(torch.tensor([[3.0, 5.0]]), packed)
    tensor([[21., 35.]])
    """
    rows, cols = packed.shape
    if x.ndim == 0 or x.shape[-1] != cols:
        raise FormatError(f"the input's last dimension must be {cols}, given shape {list(x.shape)}")
    if not x.is_floating_point():
        raise FormatError(f"the input must be floating point, given {x.dtype}")
    if x.device != packed.codes.device:
        raise FormatError(f"the input is on {x.device}, the weights on {packed.codes.device}")
    if bias is not None and tuple(bias.shape) != (rows,):
        raise FormatError(f"the bias must have {rows} values, given shape {list(bias.shape)}")
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    flat = x.reshape(-1, cols) if cols else x.reshape(x.shape[:-1].numel(), 0)
    kernel = kernel_for(packed.format, device=device, dtype=x.dtype, rows=flat.shape[0], numerics=numerics)
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
            y = _Product.apply(flat, bias, packed, kernel)  # type: ignore[no-untyped-call]
        else:
            y = kernel.product(flat, packed, bias)
    result: Tensor = y.reshape(*x.shape[:-1], rows)
    return result


class _Product(torch.autograd.Function):
    """Forward and backward through a kernel; keeps the packed weights, never dense ones."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, packed: PackedTensor, kernel: Kernel) -> Tensor:
        ctx.packed, ctx.kernel = packed, kernel
        ctx.bias_type = None if bias is None else bias.dtype
        return kernel.product(x, packed, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        to_x = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = ctx.kernel.input_gradient(grad.contiguous(), ctx.packed)
        if ctx.needs_input_grad[1]:
            to_bias = grad.sum(dim=0).to(ctx.bias_type)
        return to_x, to_bias, None, None
