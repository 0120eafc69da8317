"""Products with packed weights."""

from kbit.formats.decoding import decode as unpack_rows
from kbit.kernels.ops import product_op, unpack_rows_op
from kbit.kernels.product import product
from kbit.kernels.registry import KERNELS, NUMERICS, Kernel, available, kernel_for

__all__ = [
    "KERNELS",
    "NUMERICS",
    "Kernel",
    "available",
    "kernel_for",
    "product",
    "product_op",
    "unpack_rows",
    "unpack_rows_op",
]
