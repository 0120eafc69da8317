"""Stored sizes against formulas written by hand and against the tensors themselves."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kbit.errors import FormatError
from kbit.formats import DATATYPES, encode, parse_format, stored_size

SHAPES = [
    (1, 1),
    (1, 172),
    (172, 1),
    (7, 172),
    (13, 31),
    (2, 32),
    (3, 33),
    (97, 101),
    (1, 4097),
    (0, 5),
    (5, 0),
]


def by_hand(name: str, k: int, scale_bits: int, rows: int, cols: int, *, block: str, offset: bool) -> int:
    groups = cols // 32 + (1 if cols % 32 else 0)
    codes = rows * groups * 32 * k
    if rows == 0 or cols == 0:
        return codes + (16 * 2**k if name.startswith(("quantile", "lloyd")) else 0)
    if block == "row":
        scales = rows
    elif block == "tensor":
        scales = 1
    elif block.startswith("flat"):
        scales = (rows * cols + int(block[4:]) - 1) // int(block[4:])
    else:
        scales = rows * ((cols + int(block[1:]) - 1) // int(block[1:]))
    second = 16 * ((scales + 255) // 256) if scale_bits == 8 else 0
    table = 16 * 2**k if name.startswith(("quantile", "lloyd")) else 0
    return codes + (scales * scale_bits + second) * (2 if offset else 1) + table


@pytest.mark.parametrize("name", [n for n, row in DATATYPES.items() if row.is_packed])
@pytest.mark.parametrize("block", ["b16", "b64", "b4096", "row", "tensor", "flat64", "flat1024"])
def test_size_is_the_formula_and_the_tensors(name: str, block: str) -> None:
    row = DATATYPES[name]
    for scale, scale_bits in (("fp16", 16), ("bf16", 16), ("fp32", 32), ("q8", 8)):
        for suffix in ("",) if row.family in ("uint", "tcq") else ("", ":affine", ":center"):
            fmt = parse_format(f"{name}:{block}:{scale}{suffix}")
            offset = row.family == "uint" or bool(suffix)
            for shape in SHAPES:
                expected = by_hand(name, row.bits, scale_bits, *shape, block=block, offset=offset)
                assert stored_size(fmt, shape).total == expected
    for scale in ("fp16", "q8"):
        packed = encode(torch.ones(13, 172), parse_format(f"{name}:{block}:{scale}"))
        stored = sum(8 * t.numel() * t.element_size() for t in packed.parts().values())
        assert stored == packed.stored_size.total


@given(
    st.sampled_from([n for n, row in DATATYPES.items() if row.is_packed and row.window is None]),
    st.one_of(
        st.sampled_from(["row", "tensor"]),
        st.tuples(st.sampled_from(["b", "flat"]), st.integers(1, 256)).map(lambda p: f"{p[0]}{16 * p[1]}"),
    ),
    st.sampled_from(["fp16", "bf16", "fp32", "q8"]),
    st.tuples(st.integers(0, 9), st.integers(0, 300)),
)
@example("int1", "tensor", "fp16", (2, 0))  # no weights, and rows that no stride tells apart
@settings(max_examples=100, deadline=None)
def test_size_is_what_the_tensors_take(name, block, scale, shape) -> None:
    fmt = parse_format(f"{name}:{block}:{scale}")
    packed = encode(torch.zeros(shape), fmt)
    size = stored_size(fmt, shape)
    parts = {name: 8 * t.numel() * t.element_size() for name, t in packed.parts().items()}
    assert parts["codes"] == size.codes
    assert parts["scales"] + parts.get("second_scales", 0) == size.scales
    assert parts.get("offsets", 0) + parts.get("second_offsets", 0) == size.offsets
    assert size.total == sum(parts.values())
    assert size.weights == shape[0] * shape[1]


def test_sixteen_bits_are_sixteen_bits() -> None:
    assert stored_size(parse_format("bf16"), (3, 5, 7)).total == 16 * 105
    assert stored_size(parse_format("fp32"), (3,)).total == 96
    assert stored_size(parse_format("fp16"), ()).total == 16


def test_rates() -> None:
    assert stored_size(parse_format("nf4:b64"), (4, 64)).bits_per_weight == 4.25
    assert stored_size(parse_format("uint4:b64"), (4, 64)).bits_per_weight == 4.5
    # 1,024 scales of 8 bits in four groups of 256, each with 16 bits more.
    assert stored_size(parse_format("nf4:b32:q8"), (32, 1024)).scales == 1024 * 8 + 4 * 16
    assert stored_size(parse_format("nf4:b64"), (0, 64)).bits_per_weight is None


def test_only_matrices_are_packed() -> None:
    with pytest.raises(FormatError, match="matrices"):
        stored_size(parse_format("nf4:b64"), (3, 4, 5))
