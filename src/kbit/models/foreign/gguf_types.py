"""The types of tensors in GGUF files: one row each, as ggml.h and ggml-common.h define them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufType:
    """How a tensor's numbers are stored.

    Attributes:
        code: ggml's number of the type.
        name: as llama.cpp writes it.
        block: numbers in a block; rows are whole blocks.
        block_bytes: bytes of a block, scales and all.
        plain: numbers stored as themselves, rather than as codes and scales.
    """

    code: int
    name: str
    block: int
    block_bytes: int
    plain: bool = False


def _rows() -> list[GgufType]:
    plain = {
        "F32": (0, 4), "F16": (1, 2), "BF16": (30, 2), "F64": (28, 8),
        "I8": (24, 1), "I16": (25, 2), "I32": (26, 4), "I64": (27, 8),
    }  # fmt: skip
    blocks = {
        "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24),
        "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144),
        "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74),
        "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110),
        "IQ2_S": (22, 256, 82), "IQ4_XS": (23, 256, 136), "IQ1_M": (29, 256, 56), "TQ1_0": (34, 256, 54),
        "TQ2_0": (35, 256, 66), "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36),
    }  # fmt: skip
    rows = [
        GgufType(code=code, name=name, block=1, block_bytes=size, plain=True)
        for name, (code, size) in plain.items()
    ]
    rows += [
        GgufType(code=code, name=name, block=block, block_bytes=size)
        for name, (code, block, size) in blocks.items()
    ]
    return sorted(rows, key=lambda row: row.code)


GGUF_TYPES: Mapping[int, GgufType] = MappingProxyType({row.code: row for row in _rows()})
"""Every type that kbit reads, by ggml's number."""
