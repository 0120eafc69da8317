"""A weight format: data type, block and scale type, and its spelling such as `nf4:b64`."""

import re
from dataclasses import dataclass
from typing import Literal

from kbit.errors import FormatError, did_you_mean
from kbit.formats.datatype import DataType
from kbit.formats.datatypes import ALIASES, DATATYPES

ScaleType = Literal["fp16", "bf16", "fp32"]
Block = int | Literal["row", "tensor"]

SCALE_BITS: dict[str, int] = {"fp16": 16, "bf16": 16, "fp32": 32}
DEFAULT_BLOCK = 64
LEAST_BLOCK, GREATEST_BLOCK, BLOCK_STEP = 16, 4096, 16

_BLOCKS = f"a multiple of {BLOCK_STEP} from {LEAST_BLOCK} to {GREATEST_BLOCK}"
_GRAMMAR = "write TYPE[:bN|row|tensor|flatN][:fp16|bf16|fp32], such as nf4:b64, e2m1:b32 or int3:row:fp32"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFormat:
    """How the weights of one tensor are stored. `str(fmt)` is its canonical spelling.

    Attributes:
        datatype: a row of `DATATYPES`.
        block: weights that share a scale, along the input dimension; or `row`, or `tensor`.
        flat: blocks run over the flattened tensor, across rows.
        scale: how scales (and offsets) are stored.
    """

    datatype: DataType
    block: Block = DEFAULT_BLOCK
    flat: bool = False
    scale: ScaleType = "fp16"

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
        if not self.is_packed and (self.block, self.flat, self.scale) != (DEFAULT_BLOCK, False, "fp16"):
            raise FormatError(f"{self.datatype.name} stores the weights themselves: no blocks, no scales")

    @property
    def bits(self) -> int:
        """k: bits of a code, scales not counted (see `stored_size`)."""
        return self.datatype.bits

    @property
    def is_packed(self) -> bool:
        """Whether weights are stored as packed codes; False for bf16, fp16 and fp32."""
        return self.datatype.is_packed

    def __str__(self) -> str:
        if not self.is_packed:
            return self.datatype.name
        if isinstance(self.block, int):
            block = f"flat{self.block}" if self.flat else f"b{self.block}"
        else:
            block = self.block
        scale = "" if self.scale == "fp16" else f":{self.scale}"
        return f"{self.datatype.name}:{block}{scale}"


def parse_format(text: str) -> WeightFormat:
    """The format a string such as `nf4:b64` names.

    Args:
        text: `TYPE[:BLOCK][:SCALE]`: a name in `DATATYPES` or `ALIASES`; `bN` (default `b64`), `row`,
            `tensor` or `flatN`; `fp16` (default), `bf16` or `fp32`.

    Raises:
        FormatError: there is no such format; the message names the nearest.

    >>> str(parse_format("float4:b32:fp16"))
    'e2m1:b32'
    >>> parse_format("nf4:flat1024").flat
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
    block: Block | None = None
    scale: ScaleType | None = None
    flat = False
    for part in parts:
        match = re.fullmatch(r"(b|flat)([0-9]{1,9})|row|tensor", part)
        if match and block is None:
            flat = match[1] == "flat"
            block = int(match[2]) if match[1] else part  # type: ignore[assignment]
        elif part in SCALE_BITS and scale is None:
            scale = part  # type: ignore[assignment]
        else:
            raise FormatError(f"{text!r}: {_part_problem(part, twice=bool(match) or part in SCALE_BITS)}")
    try:
        return WeightFormat(
            datatype=datatype,
            block=DEFAULT_BLOCK if block is None else block,
            flat=flat,
            scale=scale or "fp16",
        )
    except FormatError as error:
        raise FormatError(f"{text!r}: {error}") from None


def _nearest_type(name: str) -> str:
    near = did_you_mean(name, [*DATATYPES, *ALIASES])
    if near.startswith("allowed"):
        near = "allowed: int1-int8, uint1-uint8, nf2-nf8, float2-float8, bf16, fp16, fp32, "
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
        return f"{part!r} gives the block or the scale type a second time ({_GRAMMAR})"
    known = ["b32", "b64", "b128", "row", "tensor", "flat64", "flat1024", *SCALE_BITS]
    return f"{part!r} is neither a block nor a scale type: {did_you_mean(part, known)} ({_GRAMMAR})"
