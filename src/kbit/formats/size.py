"""Stored bits of a tensor in a format, from its shape alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kbit.errors import FormatError
from kbit.formats.weight_format import SCALE_BITS, SECOND_LEVEL_BITS, SECOND_LEVEL_GROUP, WeightFormat

CODES_PER_GROUP = 32
TABLE_ENTRY_BITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSize:
    """Bits of each part of a stored tensor, padding included.

    Attributes:
        weights: number of weights.
        codes: bits of codes, or of the weights themselves where the format is not packed.
        scales: bits of scales, of both levels where there are two.
        offsets: bits of zero points, likewise.
        table: bits of a table made from data, as if this tensor alone had it; 0 where the format defines it.
    """

    weights: int
    codes: int
    scales: int = 0
    offsets: int = 0
    table: int = 0

    @property
    def total(self) -> int:
        """All stored bits."""
        return self.codes + self.scales + self.offsets + self.table

    @property
    def bits_per_weight(self) -> float | None:
        """Stored bits over weights; None for an empty tensor."""
        return self.total / self.weights if self.weights else None


def row_bytes(cols: int, bits: int) -> int:
    """Bytes of a row of `cols` codes of `bits` bits, padded to 32 codes.

    >>> row_bytes(172, 3)
    72
    """
    return -(-cols // CODES_PER_GROUP) * CODES_PER_GROUP // 8 * bits


def scale_shape(fmt: WeightFormat, shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the scales (and offsets): [rows, blocks], [blocks] for flat, [1] for a whole tensor.

    >>> from kbit.formats.weight_format import parse_format
    >>> scale_shape(parse_format("nf4:b64"), (3, 172))
    (3, 3)
    >>> scale_shape(parse_format("nf4:flat64"), (3, 172))
    (9,)
    """
    rows, cols = matrix_shape(shape)
    if fmt.block == "tensor":
        return (1 if rows * cols else 0,)
    if fmt.block == "row":
        return (rows, 1 if cols else 0)
    block = int(fmt.block)
    return (-(-rows * cols // block),) if fmt.flat else (rows, -(-cols // block))


def second_level_count(fmt: WeightFormat, shape: Sequence[int]) -> int:
    """How many second-level scales there are: one for each 256 scale codes, none for one-level scales.

    >>> from kbit.formats.weight_format import parse_format
    >>> second_level_count(parse_format("nf4:b64:q8"), (100, 172))   # 300 scales
    2
    """
    return -(-prod(scale_shape(fmt, shape)) // SECOND_LEVEL_GROUP) if fmt.scale == "q8" else 0


def stored_size(fmt: WeightFormat, shape: Sequence[int]) -> StoredSize:
    """Exact stored bits of a tensor.

    Args:
        fmt: any format.
        shape: [rows, cols] for a packed format; any shape otherwise.

    Raises:
        FormatError: a packed format and a shape that is not two-dimensional.

    >>> from kbit.formats.weight_format import parse_format
    >>> size = stored_size(parse_format("int3:b64"), (2, 172))
    >>> size.codes, size.scales, size.total   # 2 rows of 6 groups of 32 codes; 2 rows of 3 scales
    (1152, 96, 1248)
    """
    if not fmt.is_packed:
        count = prod(int(length) for length in shape)
        return StoredSize(weights=count, codes=count * fmt.bits)
    rows, cols = matrix_shape(shape)
    count = prod(scale_shape(fmt, shape))
    scales = count * SCALE_BITS[fmt.scale] + second_level_count(fmt, shape) * SECOND_LEVEL_BITS
    return StoredSize(
        weights=rows * cols,
        codes=rows * row_bytes(cols, fmt.bits) * 8,
        scales=scales,
        offsets=scales if fmt.has_offset else 0,
        table=2**fmt.bits * TABLE_ENTRY_BITS if fmt.datatype.stored_table else 0,
    )


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """`shape` as (rows, cols).

    Raises:
        FormatError: it does not have two dimensions.
    """
    if len(shape) != 2 or min(shape) < 0:
        raise FormatError(
            f"only matrices [rows, cols] are packed, given a tensor of shape {list(shape)}: "
            "reshape it, or keep it in 16 bits"
        )
    return int(shape[0]), int(shape[1])
