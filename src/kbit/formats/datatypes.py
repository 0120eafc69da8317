"""The table of data types: one row each. A new type is a row here and, at most, a builder of entries."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType

from kbit.formats.datatype import DataType
from kbit.formats.tables import (
    WINDOW,
    dynamic_entries,
    float_entries,
    integer_entries,
    normal_float_entries,
    trellis_entries,
    unsigned_entries,
)

_PAPER = "Dettmers & Zettlemoyer 2022, arXiv 2212.09720"
_QLORA = "Dettmers et al. 2023 (QLoRA), arXiv 2305.14314, appendix E"
_AFFINE = "Jacob et al. 2018, arXiv 1712.05877, eq. 1, with a real-valued zero point"

_DYNAMIC = "Dettmers 2015, arXiv 1511.04561 (dynamic tree); bitsandbytes' create_dynamic_map"
_LLOYD = "Lloyd 1982, IEEE Trans. Inf. Theory 28:129; Max 1960, IRE Trans. Inf. Theory 6:7"
_TRELLIS = "Marcellin & Fischer 1990, IEEE Trans. Comm. 38:82; Tseng et al. 2024 (QTIP), arXiv 2406.11235"

# The split the paper found best for k = 3..8 (its appendix on exponent bits); 2 bits have only one.
_BEST_EXPONENT_BITS = {2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4}

ALIASES: Mapping[str, str] = MappingProxyType(
    {f"float{k}": f"e{e}m{k - 1 - e}" for k, e in _BEST_EXPONENT_BITS.items()}
)
"""Other names of rows: `float4` is `e2m1`. A format is always printed with the row's own name."""


def _rows() -> Iterator[DataType]:
    for k in range(1, 9):
        yield DataType(
            name=f"int{k}",
            family="int",
            bits=k,
            scaling="absmax",
            source=_PAPER if k > 1 else "two signs; Rastegari et al. 2016, arXiv 1603.05279",
            build=partial(integer_entries, k),
        )
    for k in range(1, 9):
        yield DataType(
            name=f"uint{k}",
            family="uint",
            bits=k,
            scaling="range",
            source=_AFFINE,
            build=partial(unsigned_entries, k),
        )
    for k in range(2, 9):
        for e in range(1, k):
            yield DataType(
                name=f"e{e}m{k - 1 - e}",
                family="float",
                bits=k,
                scaling="absmax",
                source=_PAPER,
                build=partial(float_entries, e, k - 1 - e),
            )
    for k in range(2, 9):
        yield DataType(
            name=f"nf{k}",
            family="nf",
            bits=k,
            scaling="absmax",
            source=_QLORA,
            build=partial(normal_float_entries, k),
        )
    for k in range(3, 9):
        yield DataType(
            name=f"dyn{k}",
            family="dyn",
            bits=k,
            scaling="absmax",
            source=_DYNAMIC,
            build=partial(dynamic_entries, k),
        )
    for k in range(3, 9):
        yield DataType(
            name=f"quantile{k}", family="quantile", bits=k, scaling="absmax", source=_PAPER, fit="quantile"
        )
    for k in range(1, 9):
        yield DataType(name=f"lloyd{k}", family="lloyd", bits=k, scaling="absmax", source=_LLOYD, fit="lloyd")
    for k in range(1, 9):
        yield DataType(
            name=f"tcq{k}",
            family="tcq",
            bits=k,
            scaling="rms",
            source=_TRELLIS,
            build=trellis_entries,
            window=WINDOW,
        )
    for name, bits, source in (
        ("bf16", 16, "bfloat16: 8 exponent and 7 mantissa bits"),
        ("fp16", 16, "IEEE 754-2019 binary16"),
        ("fp32", 32, "IEEE 754-2019 binary32"),
    ):
        yield DataType(name=name, family=name, bits=bits, scaling="none", source=source)


DATATYPES: Mapping[str, DataType] = MappingProxyType({row.name: row for row in _rows()})
"""Every data type by name."""
