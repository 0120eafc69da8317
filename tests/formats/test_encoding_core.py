"""The C++ encoder against the PyTorch one, bit for bit, on every path that runs here."""

import pytest
import torch

from kbit import _core
from kbit.errors import FormatError
from kbit.formats import DATATYPES, encode, encoding_core, parse_format
from kbit.formats.encoding import codes_torch, encode_scaled, range_scales, ranges_torch

# Codes of trellis-coded types are chosen together, by another search.
PACKED = [name for name, row in DATATYPES.items() if row.is_packed and row.family != "tcq"]
LAYOUTS = (
    "b16",
    "b48",
    "b64:q8",
    "row",
    "tensor:fp32",
    "flat32",
    "flat80:bf16",
    "b32:center",
    "b64:affine:q8",
)
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def weights(rows: int, cols: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Gaussian weights with zeros of both signs, ties, a block of zeros, an outlier and subnormals."""
    w = torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed)) * 0.05
    w[:, ::7] = 0.0
    w[:, 3::11] = -0.0
    w[0] = torch.linspace(-1, 1, cols)
    w[1, :64] = 0.0
    w[2, -1] = 3.0
    w[3] *= 1e-6
    w[4] = w[4].abs()
    return w.to(dtype)


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("name", PACKED)
def test_codes_equal_those_of_pytorch(name, path):
    for i, layout in enumerate(LAYOUTS):
        if name.startswith("uint") and ("center" in layout or "affine" in layout):
            continue
        fmt, weight = parse_format(f"{name}:{layout}"), weights(9, 173 + i, TYPES[i % 3], i)
        entries = torch.linspace(-1, 1, 2**fmt.bits).bfloat16().float()
        if fmt.datatype.build is not None:
            entries = torch.tensor(fmt.datatype.entries())
        scales, offsets = range_scales(weight, fmt, entries)
        boundaries = (entries[1:].double() + entries[:-1].double()).div(2).float()
        values = (scales.values, None if offsets is None else offsets.values)
        wanted = codes_torch(weight, fmt, boundaries, *values)
        found = encoding_core.codes(weight, fmt, boundaries, *values, path=path)
        assert torch.equal(found, wanted), layout


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", ["b16", "b64", "row", "tensor", "flat48", "flat4096"])
def test_ranges_equal_those_of_pytorch(layout, dtype, path):
    fmt = parse_format(f"int4:{layout}")
    for shape in ((5, 1), (7, 16), (6, 65), (70, 1031)):
        weight = weights(*shape, dtype)
        found, wanted = encoding_core.ranges(weight, fmt, path=path), ranges_torch(weight, fmt)
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_weight_that_is_not_finite_is_seen_wherever_it_stands(dtype, bad, path):
    fmt = parse_format("int4:b64")
    for column in (0, 15, 16, 63, 64, 66):
        weight = weights(5, 67, dtype)
        weight[3, column] = bad
        assert encoding_core.ranges(weight, fmt, path=path) is None
    with pytest.raises(FormatError, match="1 of 335 weights are NaN or infinite"):
        encode(weight, fmt)


@pytest.mark.parametrize("layout", ["b32", "row", "tensor", "flat48", "b64:center", "b64:affine:q8"])
def test_strided_and_wide_weights_are_stored_as_their_copies(layout):
    fmt = parse_format(f"nf4:{layout}")
    base = weights(80, 90, torch.float32)
    for view in (base.T, base[:, 3:70], base[::2], base.double()):
        a, b = encode(view, fmt), encode(view.float().contiguous(), fmt)
        assert torch.equal(a.codes, b.codes)
        assert torch.equal(a.scales, b.scales)


def test_other_scales_than_the_range_are_kept():
    fmt, weight = parse_format("int3:b32"), weights(6, 100, torch.bfloat16)
    scales, _ = range_scales(weight, fmt, torch.tensor(fmt.datatype.entries()))
    halved = type(scales)(stored=scales.stored / 2)
    packed = encode_scaled(weight, fmt, halved)
    wanted = codes_torch(weight, fmt, torch.arange(-2.5, 3), halved.values, None)
    assert torch.equal(packed.codes, wanted)
    assert not torch.equal(packed.codes, encode(weight, fmt).codes)


def test_the_core_refuses_what_does_not_fit():
    weight, out = torch.zeros(4, 64), torch.zeros(4, 32, dtype=torch.uint8)
    good = {"type": "fp32", "bits": 4, "boundaries": torch.zeros(15), "scales": torch.ones(4)}
    good |= {"scales_a_row": 1, "block": 64, "flat": False, "out": out}
    _core.encode(weight, **good)
    wrong = [
        {"type": "bf16"},
        {"bits": 9},
        {"bits": 3},
        {"boundaries": torch.zeros(16)},
        {"scales": torch.ones(3)},
        {"scales_a_row": -1},
        {"block": 0},
        {"block": 16},
        {"offsets": torch.ones(3)},
        {"out": torch.zeros(4, 31, dtype=torch.uint8)},
        {"path": "mmx"},
    ]
    for change in wrong:
        with pytest.raises((ValueError, TypeError)):
            _core.encode(weight, **(good | change))
    with pytest.raises(ValueError):
        _core.ranges(weight, type="fp32", block=64, flat=False, low=torch.zeros(3), high=torch.zeros(4))
