"""Which kernel multiplies which format: a table, most preferred first."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.errors import FormatError, did_you_mean
from kbit.formats.packed import PackedTensor
from kbit.formats.weight_format import WeightFormat
from kbit.kernels import core, long
from kbit.kernels.reference import SLICE_WEIGHTS, reference_input_gradient, reference_product

NUMERICS: tuple[str, ...] = ("a16", "a8")
"""a16: activations in their own type. a8: activations rounded to 8 bits in blocks of 64; on request only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One way to multiply with packed weights.

    Attributes:
        name: as `kbit doctor` prints it.
        numerics: `a16` or `a8`.
        max_rows: the most rows of activations it is meant for; None for any number.
        workspace_bytes: what a call needs beside its input and output, at most, for float32 input.
        workspace_bytes_a_column: what it needs beside that for each column of the weight.
        serves: whether it takes this format, device type and input type, here and now.
        product: (x [n, cols], packed, bias [rows] | None) -> [n, rows] in x's type.
        input_gradient: (grad [n, rows], packed) -> [n, cols] in grad's type.
    """

    name: str
    numerics: str
    max_rows: int | None = None
    workspace_bytes: int
    workspace_bytes_a_column: int = 0
    serves: Callable[[WeightFormat, str, torch.dtype], bool]
    product: Callable[[Tensor, PackedTensor, Tensor | None], Tensor]
    input_gradient: Callable[[Tensor, PackedTensor], Tensor]


def _own_table(fmt: WeightFormat) -> bool:
    """Whether a weight's own code is its place in the table, as the core's loops take it."""
    return fmt.is_packed and fmt.datatype.window is None


CORE = Kernel(
    name="core",
    numerics="a16",
    max_rows=core.MOST_ROWS,
    workspace_bytes=0,
    workspace_bytes_a_column=core.WORKSPACE_BYTES_A_COLUMN,
    serves=lambda fmt, device, dtype: _own_table(fmt) and core.serves(device, dtype),
    product=core.core_product,
    input_gradient=long.panels_input_gradient,
)
CORE_A8 = Kernel(
    name="core-a8",
    numerics="a8",
    workspace_bytes=0,
    workspace_bytes_a_column=core.WORKSPACE_BYTES_A_COLUMN,
    serves=lambda fmt, device, dtype: _own_table(fmt) and core.serves(device, dtype),
    product=core.core_product_a8,
    input_gradient=long.panels_input_gradient,
)
CORE_PANELS = Kernel(
    name="core-panels",
    numerics="a16",
    workspace_bytes=long.core_panels_workspace_bytes(),
    serves=lambda fmt, device, dtype: _own_table(fmt) and long.core_panels_serve(device, dtype),
    product=long.core_panels_product,
    input_gradient=long.panels_input_gradient,
)
PANELS = Kernel(
    name="panels",
    numerics="a16",
    workspace_bytes=long.PANEL_BYTES,
    workspace_bytes_a_column=4,
    serves=lambda fmt, device, dtype: _own_table(fmt) and long.panels_serve(device, dtype),
    product=long.panels_product,
    input_gradient=long.panels_input_gradient,
)
REFERENCE = Kernel(
    name="reference",
    numerics="a16",
    workspace_bytes=SLICE_WEIGHTS * 16,
    serves=lambda fmt, device, dtype: fmt.is_packed and dtype.is_floating_point,
    product=reference_product,
    input_gradient=reference_input_gradient,
)

KERNELS: tuple[Kernel, ...] = (CORE, CORE_A8, CORE_PANELS, PANELS, REFERENCE)


def available() -> list[str]:
    """Names of the kernels that can run here, most preferred first."""
    return [kernel.name for kernel in KERNELS]


def kernel_for(
    fmt: WeightFormat,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    rows: int = 1,
    numerics: str = "a16",
) -> Kernel:
    """The kernel that multiplies so many rows of this type with weights of this format on this device.

    Raises:
        FormatError: unknown numerics, or 8-bit activations asked for where no kernel has them.
    """
    if numerics not in NUMERICS:
        raise FormatError(f"numerics {numerics!r}: {did_you_mean(numerics, NUMERICS)}")
    for kernel in KERNELS:
        fits = kernel.numerics == numerics and (kernel.max_rows is None or rows <= kernel.max_rows)
        if fits and kernel.serves(fmt, device, dtype):
            return kernel
    what = "8-bit activations (numerics a8): use a16" if numerics == "a8" else "this: keep them in 16 bits"
    raise FormatError(f"no kernel multiplies {dtype} inputs with {fmt} weights on {device} in {what}")
