"""A data type: the codebook that k bits choose from, and how a block is scaled to it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np

Scaling = Literal["absmax", "range", "rms", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataType:
    """One row of the table of data types.

    A code is an index into the ascending table, so code order is value order and there is no negative
    zero. Tables have 2^bits values; a type with fewer entries repeats its last one in the codes that
    are never written. Every value is exact in bfloat16.

    Attributes:
        name: as written in a format, such as `nf4`.
        family: the types that differ in bits only, such as `nf`.
        bits: k, bits of a code; for a type that is not packed, bits of a weight.
        scaling: `absmax` maps the block's largest magnitude to the table's largest; `range` maps the
            block's least and greatest value to the table's ends and stores an offset (zero point)
            beside the scale; `rms` brings the block's root mean square to a value fixed for each k; `none`
            stores the weight itself.
        build: makes the entries (ascending, without repetition); None where there is no table or where
            it is made from data.
        fit: how the table is made from data, and then stored and counted; None where `build` defines it.
        window: bits of codes that index the table, where a weight's value also follows from the codes of the
            rows above it (see `kbit.formats.trellis`); None where its own code alone does.
        source: where the type is defined.
    """

    name: str
    family: str
    bits: int
    scaling: Scaling
    source: str
    build: Callable[[], tuple[float, ...]] | None = field(default=None, compare=False, repr=False)
    fit: Literal["quantile", "lloyd"] | None = None
    window: int | None = None

    @property
    def stored_table(self) -> bool:
        """Whether the table is made from data, so that it is stored and counted."""
        return self.fit is not None

    @property
    def is_packed(self) -> bool:
        """Whether weights are stored as packed codes; False for bf16, fp16 and fp32."""
        return self.scaling != "none"

    def entries(self) -> np.ndarray:
        """The distinct values, ascending, as float32; with a window all values, in the table's order.

        Raises:
            ValueError: the type has no table of its own (not packed, or made from data).
        """
        if self.build is None:
            raise ValueError(f"{self.name} has no table of its own")
        return _entries(self.build)

    def table(self) -> np.ndarray:
        """The values codes index (2^bits, or 2^window), as float32; unused codes repeat the last entry."""
        entries = self.entries()
        return np.pad(entries, (0, 2 ** (self.window or self.bits) - len(entries)), mode="edge")


@cache
def _entries(build: Callable[[], tuple[float, ...]]) -> np.ndarray:
    entries = np.asarray(build(), dtype=np.float32)
    entries.flags.writeable = False
    return entries
