"""Which kernel multiplies which format: a table, most preferred first."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.formats.packed import PackedTensor
from kbit.formats.weight_format import WeightFormat
from kbit.kernels.reference import SLICE_WEIGHTS, reference_input_gradient, reference_product


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One way to multiply with packed weights.

    Attributes:
        name: as `kbit doctor` prints it.
        numerics: `a16`: activations in the input's own type; `a8`: activations in 8 bits by block.
        workspace_bytes: what a call needs beside its input and output, at most, for float32 input.
        serves: whether it takes this format, device type and input type, here and now.
        product: (x [n, cols], packed, bias [rows] | None) -> [n, rows] in x's type.
        input_gradient: (grad [n, rows], packed) -> [n, cols] in grad's type.
    """

    name: str
    numerics: str
    workspace_bytes: int
    serves: Callable[[WeightFormat, str, torch.dtype], bool]
    product: Callable[[Tensor, PackedTensor, Tensor | None], Tensor]
    input_gradient: Callable[[Tensor, PackedTensor], Tensor]


REFERENCE = Kernel(
    name="reference",
    numerics="a16",
    workspace_bytes=SLICE_WEIGHTS * 16,
    serves=lambda fmt, device, dtype: fmt.is_packed and dtype.is_floating_point,
    product=reference_product,
    input_gradient=reference_input_gradient,
)

KERNELS: tuple[Kernel, ...] = (REFERENCE,)


def available() -> list[str]:
    """Names of the kernels that can run here, most preferred first."""
    return [kernel.name for kernel in KERNELS]


def kernel_for(fmt: WeightFormat, *, device: str = "cpu", dtype: torch.dtype = torch.bfloat16) -> Kernel:
    """The kernel that multiplies inputs of this type with weights of this format on this device."""
    for kernel in KERNELS:
        if kernel.serves(fmt, device, dtype):
            return kernel
    raise ValueError(f"no kernel multiplies {dtype} inputs with {fmt} weights on {device}")
