"""A weight format: data type, block and scale type, and its spelling such as `nf4:b64`."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from kbit.errors import FormatError, did_you_mean
from kbit.formats.datatype import DataType
from kbit.formats.datatypes import ALIASES, DATATYPES

ScaleType = Literal["fp16", "bf16", "fp32", "q8"]
Block = int | Literal["row", "tensor"]
Offset = Literal["none", "center", "affine"]
TableScope = Literal["tensor", "kind", "model"]

SCALE_BITS: dict[str, int] = {"fp16": 16, "bf16": 16, "fp32": 32, "q8": 8}
# A q8 scale is an 8-bit code times a bfloat16 that so many consecutive codes share.
SECOND_LEVEL_GROUP, SECOND_LEVEL_BITS = 256, 16
OFFSETS = ("center", "affine")
TABLE_SCOPES: dict[str, TableScope] = {"table-kind": "kind", "table-model": "model"}
DEFAULT_BLOCK = 64
LEAST_BLOCK, GREATEST_BLOCK, BLOCK_STEP = 16, 4096, 16

_BLOCKS = f"a multiple of {BLOCK_STEP} from {LEAST_BLOCK} to {GREATEST_BLOCK}"
_GRAMMAR = (
    "write TYPE[:bN|row|tensor|flatN][:fp16|bf16|fp32|q8][:center|affine][:table-kind|table-model], such as "
    "nf4:b64, e2m1:b32:q8 or int3:row:fp32"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFormat:
    """How the weights of one tensor are stored. `str(fmt)` is its canonical spelling.

    Attributes:
        datatype: a row of `DATATYPES`.
        block: weights that share a scale, along the input dimension; or `row`, or `tensor`.
        flat: blocks run over the flattened tensor, across rows.
        scale: how scales (and offsets) are stored; `q8` is two levels, an 8-bit code for each block and a
            bfloat16 for each 256 consecutive codes of the flattened array.
        offset: `center` subtracts each block's mean, `affine` maps its least and greatest weight to the
            table's ends; either stores an offset beside the scale. `none` for types that define it.
        table: which tensors share a table made from data: none (`tensor`), layers that differ in their
            number only (`kind`), or all packed layers (`model`).
    """

    datatype: DataType
    block: Block = DEFAULT_BLOCK
    flat: bool = False
    scale: ScaleType = "fp16"
    offset: Offset = "none"
    table: TableScope = "tensor"

    def __post_init__(self) -> None:
        if self.scale not in SCALE_BITS:
            raise FormatError(f"scale type {self.scale!r}: {did_you_mean(str(self.scale), SCALE_BITS)}")
        if isinstance(self.block, int):
            fits = LEAST_BLOCK <= self.block <= GREATEST_BLOCK and self.block % BLOCK_STEP == 0
            if not fits or isinstance(self.block, bool):
                raise FormatError(f"block of {self.block} weights: a block is {_BLOCKS}")
        elif self.block not in ("row", "tensor"):
            raise FormatError(f"block {self.block!r}: a block is {_BLOCKS}, 'row' or 'tensor'")
        elif self.flat:
            raise FormatError(f"flat blocks have a length: {_BLOCKS}; given {self.block!r}")
        self._check_offset_and_table()
        layout = (self.block, self.flat, self.scale, self.offset)
        if not self.is_packed and layout != (DEFAULT_BLOCK, False, "fp16", "none"):
            raise FormatError(f"{self.datatype.name} stores the weights themselves: no blocks, no scales")

    def _check_offset_and_table(self) -> None:
        name = self.datatype.name
        if self.offset not in ("none", *OFFSETS):
            raise FormatError(f"offset {self.offset!r}: {did_you_mean(str(self.offset), OFFSETS)}")
        if self.offset != "none" and self.datatype.scaling == "range":
            raise FormatError(f"{name} has a zero point by itself: leave out {self.offset!r}")
        if self.offset != "none" and self.datatype.scaling == "rms":
            raise FormatError(f"{name} is scaled by the root mean square: it has no {self.offset!r}")
        if self.table not in ("tensor", *TABLE_SCOPES.values()):
            raise FormatError(f"table {self.table!r}: {did_you_mean(str(self.table), TABLE_SCOPES.values())}")
        if self.table != "tensor" and not self.datatype.stored_table:
            raise FormatError(f"the table of {name} is part of its definition, not made from data to share")

    @property
    def bits(self) -> int:
        """k: bits of a code, scales not counted (see `stored_size`)."""
        return self.datatype.bits

    @property
    def is_packed(self) -> bool:
        """Whether weights are stored as packed codes; False for bf16, fp16 and fp32."""
        return self.datatype.is_packed

    @property
    def has_offset(self) -> bool:
        """Whether each block stores an offset beside its scale."""
        return self.offset != "none" or self.datatype.scaling == "range"

    @property
    def maps_range(self) -> bool:
        """Whether a block's least and greatest weight go to the table's ends, not the largest magnitude."""
        return self.offset == "affine" or self.datatype.scaling == "range"

    def __str__(self) -> str:
        if not self.is_packed:
            return self.datatype.name
        if isinstance(self.block, int):
            block = f"flat{self.block}" if self.flat else f"b{self.block}"
        else:
            block = self.block
        parts = [self.datatype.name, block]
        parts += [] if self.scale == "fp16" else [self.scale]
        parts += [] if self.offset == "none" else [self.offset]
        parts += [] if self.table == "tensor" else [f"table-{self.table}"]
        return ":".join(parts)


def parse_format(text: str) -> WeightFormat:
    """The format a string such as `nf4:b64` names.

    Args:
        text: `TYPE[:BLOCK][:SCALE][:OFFSET][:TABLE]`: a name in `DATATYPES` or `ALIASES`; `bN` (default
            `b64`), `row`, `tensor` or `flatN`; `fp16` (default), `bf16`, `fp32` or `q8`; `center` or
            `affine`; `table-kind` or `table-model`. The parts after the type may come in any order.

    Raises:
        FormatError: there is no such format; the message names the nearest.

    >>> str(parse_format("float4:b32:fp16"))
    'e2m1:b32'
    >>> parse_format("nf4:flat1024").flat
    True
    >>> parse_format("nf4:affine:b32:q8").has_offset
    True
    >>> parse_format("nf44")
    Traceback (most recent call last):
    kbit.errors.FormatError: no data type 'nf44' in format 'nf44': nf exists for k = 2 to 8; did ...
    """
    if not isinstance(text, str):
        raise FormatError(f"a format is a string, given {text!r}: {_GRAMMAR}")
    name, *parts = text.strip().lower().split(":")
    datatype = DATATYPES.get(ALIASES.get(name, name))
    if datatype is None:
        raise FormatError(f"no data type {name!r} in format {text!r}: {_nearest_type(name)} ({_GRAMMAR})")
    if not datatype.is_packed and parts:
        raise FormatError(f"{text!r}: {name} stores the weights themselves: write just {name!r}")
    given: dict[str, Any] = {}
    for part in parts:
        field, values = _field_of(part)
        if field is None or field in given:
            raise FormatError(f"{text!r}: {_part_problem(part, twice=field is not None)}")
        given |= values
    try:
        return WeightFormat(datatype=datatype, **given)
    except FormatError as error:
        raise FormatError(f"{text!r}: {error}") from None


def _field_of(part: str) -> tuple[str | None, dict[str, Any]]:
    """The field a part of a spelling sets, and its values; None where it is no part of one."""
    match = re.fullmatch(r"(b|flat)([0-9]{1,9})|row|tensor", part)
    if match:
        return "block", {"block": int(match[2]) if match[1] else part, "flat": match[1] == "flat"}
    if part in SCALE_BITS:
        return "scale", {"scale": part}
    if part in OFFSETS:
        return "offset", {"offset": part}
    if part in TABLE_SCOPES:
        return "table", {"table": TABLE_SCOPES[part]}
    return None, {}


def _nearest_type(name: str) -> str:
    near = did_you_mean(name, [*DATATYPES, *ALIASES])
    if near.startswith("allowed"):
        near = "allowed: int1-int8, uint1-uint8, nf2-nf8, float2-float8, tcq1-tcq8, bf16, fp16, fp32, "
        near += "and eEmM with E exponent and M mantissa bits beside the sign, 2 to 8 together"
    match = re.fullmatch(r"([a-z]+)([0-9]+)", name)
    ks = [row.bits for row in DATATYPES.values() if match and row.family == match[1]]
    if match is None or not ks:
        return near
    if match[2] == "1":
        near = "at one bit use 'int1'"
    return f"{match[1]} exists for k = {min(ks)} to {max(ks)}; {near}"


def _part_problem(part: str, *, twice: bool) -> str:
    if twice:
        return f"{part!r} gives the block, scale type, offset or table a second time ({_GRAMMAR})"
    known = ["b32", "b64", "b128", "row", "tensor", "flat64", "flat1024"]
    known += [*SCALE_BITS, *OFFSETS, *TABLE_SCOPES]
    return f"{part!r} is neither a block nor a scale type: {did_you_mean(part, known)} ({_GRAMMAR})"
