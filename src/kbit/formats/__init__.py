"""What k bits are: data types, blocks, exact size, encode, decode, packing.

Names that need torch load it on first use, so that listings and sizes do without.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kbit.formats.catalogue import listing
from kbit.formats.datatype import DataType
from kbit.formats.datatypes import ALIASES, DATATYPES
from kbit.formats.gaussian import gaussian_mse, shannon_mse
from kbit.formats.size import StoredSize, row_bytes, scale_shape, stored_size
from kbit.formats.weight_format import WeightFormat, parse_format

if TYPE_CHECKING:
    from kbit.formats.decoding import decode as decode
    from kbit.formats.encoding import encode as encode
    from kbit.formats.packed import PackedTensor as PackedTensor
    from kbit.formats.packing import pack_codes as pack_codes
    from kbit.formats.packing import unpack_codes as unpack_codes

_LAZY = {
    "PackedTensor": "kbit.formats.packed",
    "decode": "kbit.formats.decoding",
    "encode": "kbit.formats.encoding",
    "pack_codes": "kbit.formats.packing",
    "unpack_codes": "kbit.formats.packing",
}

__all__ = [
    "ALIASES",
    "DATATYPES",
    "DataType",
    "PackedTensor",
    "StoredSize",
    "WeightFormat",
    "decode",
    "encode",
    "gaussian_mse",
    "listing",
    "pack_codes",
    "parse_format",
    "row_bytes",
    "scale_shape",
    "shannon_mse",
    "stored_size",
    "unpack_codes",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kbit.formats' has no attribute {name!r}")
