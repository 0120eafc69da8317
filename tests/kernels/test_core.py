"""The C++ products against float64, on every path this machine has."""

import random

import numpy as np
import pytest
import torch

from kbit import _core
from kbit.formats import PackedTensor, decode, encode, parse_format
from kbit.formats.decoding import core_parts

# Products are rounded to float32 sums; a bfloat16 code 2^k + c costs at most two more bits than c alone.
ROUNDING = {"f32": 2.0**-21, "bf16": 2.0**-19}
TYPES = [f"{name}{k}" for name in ("int", "uint", "nf") for k in range(1, 9) if (name, k) != ("nf", 1)]
TYPES += ["e2m1", "e1m1", "e3m3", "e4m3", "e5m2"]
BLOCKS = ["b64", "b128", "b16", "b48", "b80", "b4080", "row", "tensor", "flat64", "flat48", "flat1024"]
SCALES = ["", ":fp32", ":bf16", ":q8"]
COLS = [1, 7, 31, 32, 33, 63, 64, 65, 83, 96, 127, 128, 160, 192, 257, 768, 1000]


def random_packed(text: str, rows: int, cols: int, seed: int = 0) -> PackedTensor:
    generator = torch.Generator().manual_seed(seed)
    return encode(torch.randn(rows, cols, generator=generator) * 0.1, parse_format(text))


def multiply(packed: PackedTensor, x: torch.Tensor, numerics: str, path: str, threads: int = 1) -> np.ndarray:
    weight = _core.Weight(**core_parts(packed), path=path)
    y = torch.full((x.shape[0], packed.shape[0]), torch.nan)
    bfloat16 = x.dtype == torch.bfloat16
    weight.multiply(x.data_ptr(), bfloat16, x.shape[0], x.stride(0), y.data_ptr(), numerics, threads)
    return y.double().numpy()


def activations(n: int, cols: int, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, cols, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_within_rounding(
    y: np.ndarray, x: torch.Tensor, packed: PackedTensor, numerics: str, note: str
) -> None:
    weight = decode(packed).double().numpy()
    expected = x.double().numpy() @ weight.T
    # Integer codes are multiplied before their zero is subtracted, so the largest weight sets the rounding.
    size = np.abs(x.double().numpy()).sum(axis=1, keepdims=True) * np.abs(weight).max(initial=0.0)
    assert (np.abs(y - expected) <= ROUNDING[numerics] * size).all(), note


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize(("numerics", "dtype"), [("f32", torch.float32), ("bf16", torch.bfloat16)])
def test_any_shape_and_format(path: str, numerics: str, dtype: torch.dtype) -> None:
    draw = random.Random(path + numerics)
    for case in range(120):
        text = draw.choice(TYPES) + ":" + draw.choice(BLOCKS) + draw.choice(SCALES)
        rows, cols, n = draw.randint(1, 40), draw.choice(COLS), draw.randint(1, 20)
        packed = random_packed(text, rows, cols, seed=case)
        x = activations(n, cols, dtype)
        y = multiply(packed, x, numerics, path, threads=draw.choice([1, 3]))
        assert_within_rounding(y, x, packed, numerics, f"{text} [{rows}, {cols}], {n} rows of x")


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("bits", range(1, 9))
def test_long_rows(path: str, bits: int) -> None:
    # More scales than are expanded at once, blocks of several registers, and ends at every part of one.
    draw = random.Random(path + str(bits))
    for case, block in enumerate(["b64", "b64", "b32", "b256:q8", "b2048", "b192", "row"]):
        text = f"{draw.choice(['int', 'uint', 'nf'] if bits > 1 else ['int', 'uint'])}{bits}:{block}"
        cols, rows, n = draw.randint(16_000, 20_000), draw.choice([1, 4, 6]), draw.choice([1, 2, 3, 5, 16])
        packed = random_packed(text, rows, cols, seed=case)
        for numerics, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            x = activations(n, cols, dtype)
            y = multiply(packed, x, numerics, path)
            assert_within_rounding(y, x, packed, numerics, f"{text} [{rows}, {cols}], {n} rows of x")
        y, reference = (multiply(packed, x, "a8", p) for p in (path, "portable"))
        np.testing.assert_allclose(y, reference, atol=2e-3 * np.abs(reference).max(), err_msg=f"{text} {n}")


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("family", ["int", "uint", "nf"])
def test_unpacking_is_exact(path: str, bits: int, family: str) -> None:
    if (family, bits) == ("nf", 1):
        pytest.skip("nf begins at two bits")
    packed = random_packed(f"{family}{bits}:b32:fp32", 9, 160)
    weight = decode(packed).double().numpy()
    one_hot = torch.eye(160)
    step = np.abs(weight).max() / 2**bits
    for numerics, x in (("f32", one_hot), ("bf16", one_hot.bfloat16())):
        # Each product is one weight: another code would be a whole step away.
        y = multiply(packed, x, numerics, path)
        assert np.abs(y - weight.T).max() < 2.0**-12 * step


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize(
    "text", ["int8:b64", "int5:b32", "uint4:b64", "int3:row", "nf4:b64", "nf8:b16", "e4m3:flat48"]
)
def test_eight_bit_activations(path: str, text: str) -> None:
    packed = random_packed(text, 11, 200)
    x = activations(3, 200, torch.float32)
    x[2] = 0
    y = multiply(packed, x, "a8", path)
    units = torch.zeros(3, 256)
    units[:, :200] = x
    blocks = units.view(3, 4, 64)
    quantum = blocks.abs().amax(dim=2, keepdim=True) / 127
    rounded = torch.where(quantum > 0, (blocks / quantum).round() * quantum, 0.0)
    near = (rounded - blocks).abs().max() <= quantum.max() / 2 * 1.001
    assert near
    rounded = rounded.view(3, 256)[:, :200]
    table = packed.table_values()
    if not text.startswith(("int", "uint")):  # rounded to 8 bits as well
        table = (table / table.abs().max() * 127).round() * table.abs().max() / 127
    weight = decode_with(packed, table)
    expected = rounded.double().numpy() @ weight.T
    size = np.abs(rounded.double().numpy()).sum(axis=1, keepdims=True) * np.abs(weight).max()
    # A tie may be rounded either way by quanta that differ in the last bit: one unit of one activation.
    assert (
        np.abs(y - expected) <= 2.0**-18 * size + 1.01 * float(quantum.max()) * np.abs(weight).max()
    ).all()
    assert np.abs(y - expected).mean() < 1e-4 * size.mean()
    assert (y[2] == 0).all()


def decode_with(packed: PackedTensor, table: torch.Tensor) -> np.ndarray:
    """Float64 weights with another table: the stored one's places are looked up by value."""
    scales = packed.scale_values().double()
    rows, cols = packed.shape
    block = packed.format.block
    length = cols if block == "row" else int(block)
    place = np.arange(rows * cols).reshape(rows, cols)
    index = (
        place // length if packed.format.flat else place // cols * -(-cols // length) + place % cols // length
    )
    from kbit.formats import unpack_codes

    codes = unpack_codes(packed.codes, packed.format.bits, cols).numpy()
    values = table.double().numpy()[codes] * scales.numpy().ravel()[index]
    offsets = packed.offset_values()
    return values if offsets is None else values + offsets.double().numpy().ravel()[index]


@pytest.mark.parametrize("path", _core.paths())
def test_an_unused_code_means_what_the_table_says(path: str) -> None:
    # Symmetric integers leave the greatest code unused: its table entry repeats the one before it, so it is
    # not a step further, as arithmetic on codes would have it.
    packed = random_packed("int6:b64:fp32", 4, 128)
    packed.codes[2, :] = 255
    x = torch.eye(128)
    np.testing.assert_allclose(multiply(packed, x, "f32", path), decode(packed).double().numpy().T, rtol=1e-6)
    np.testing.assert_allclose(
        multiply(packed, x.bfloat16(), "bf16", path), decode(packed).double().numpy().T, rtol=1e-6
    )


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("numerics", ["f32", "bf16", "a8"])
def test_nothing_beside_the_row_is_read_or_written(path: str, numerics: str) -> None:
    packed = random_packed("nf5:b64", 5, 100)
    around = torch.full((5, 4 * packed.codes.shape[1]), 255, dtype=torch.uint8)
    around[:, 7 : 7 + packed.codes.shape[1]] = packed.codes
    inside = around[:, 7 : 7 + packed.codes.shape[1]]
    strided = PackedTensor(format=packed.format, shape=packed.shape, codes=inside, scales=packed.scales)
    wide = torch.full((3, 150), torch.nan)
    wide[:, :100] = activations(3, 100, torch.float32)
    y = multiply(strided, wide[:, :100], numerics, path)
    np.testing.assert_array_equal(y, multiply(packed, wide[:, :100].contiguous(), numerics, path))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("numerics", ["f32", "bf16", "a8"])
def test_not_a_number_is_never_lost(path: str, numerics: str) -> None:
    packed = random_packed("nf4:b64", 5, 100)
    x = activations(2, 100, torch.float32)
    x[1, 70] = torch.nan
    y = multiply(packed, x.bfloat16() if numerics == "bf16" else x, numerics, path)
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("path", _core.paths())
def test_empty(path: str) -> None:
    for rows, cols, n in ((0, 64, 2), (3, 0, 2), (3, 64, 0)):
        packed = random_packed("nf4:b64", rows, cols)
        y = multiply(packed, torch.ones(n, cols), "f32", path)
        assert y.shape == (n, rows)
        assert (y == 0).all()


def test_what_does_not_fit_is_refused() -> None:
    parts = core_parts(random_packed("nf4:b64", 3, 64))
    with pytest.raises(ValueError, match="available: "):
        _core.Weight(**parts, path="avx1024")
    with pytest.raises(ValueError, match="bytes a row"):
        _core.Weight(**{**parts, "cols": 65})
    with pytest.raises(ValueError, match="16 values"):
        _core.Weight(**{**parts, "table": torch.zeros(15)})
    with pytest.raises(ValueError, match="scales are needed"):
        _core.Weight(**{**parts, "block": 16, "scales_a_row": 4})
    with pytest.raises(ValueError, match="f32, bf16 or a8"):
        _core.Weight(**parts).kernel("int4")
