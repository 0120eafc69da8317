"""Trellis-coded types: the search against an independent one, the values against a loop, known errors."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from kbit.errors import FormatError
from kbit.formats import decode, encode, gaussian_mse, parse_format, shannon_mse, stored_size, unpack_codes
from kbit.formats.datatypes import DATATYPES
from kbit.formats.gaussian import TRELLIS_MSE
from kbit.formats.tables import WINDOW, round_to_bfloat16, trellis_entries
from kbit.formats.trellis import SPREAD, trellis_codes, trellis_values
from kbit.kernels import kernel_for, product
from kbit.quantize import METHODS

TABLE = np.array(trellis_entries())
LLOYD_MAX = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497}


def values_by_loop(codes, bits):
    """Each column by itself, bit by bit: the last 12 bits of its ring of codes are the place in the table."""
    rows, cols = codes.shape
    made = np.empty((rows, cols))
    for r, c in itertools.product(range(rows), range(cols)):
        stream = "".join(
            format(int(codes[(r - back) % rows, c]), f"0{bits}b") for back in range(WINDOW)[::-1]
        )
        made[r, c] = TABLE[int(stream[-WINDOW:], 2)]
    return made


def least_cost(x, bits, past):
    """Least squared error of a column whose codes before the first row, and at its end, are `past`."""
    size, groups = 1 << WINDOW, 1 << (WINDOW - bits)
    states = np.arange(size)
    cost = np.full(groups, np.inf)
    cost[past] = 0.0
    for value in x:
        here = cost[states >> bits] + (value - TABLE) ** 2
        cost = np.full(groups, np.inf)
        np.minimum.at(cost, states & (groups - 1), here)
    return cost[past]


def test_the_table_is_gaussian_quantiles_in_another_order():
    expected = np.sort(round_to_bfloat16(ndtri((np.arange(4096) + 0.5) / 4096)))
    np.testing.assert_array_equal(np.sort(TABLE.astype(np.float32)), expected)
    # Neighbours in the table say nothing of each other, nor do states that share a past.
    assert abs(np.corrcoef(TABLE[1:], TABLE[:-1])[0, 1]) < 0.05
    assert abs(np.corrcoef(TABLE[: 4096 - 256], TABLE[256:])[0, 1]) < 0.05


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_values_follow_from_the_last_twelve_bits(bits):
    rng = np.random.default_rng(bits)
    codes = torch.from_numpy(rng.integers(0, 2**bits, (14, 5), dtype=np.uint8))
    np.testing.assert_array_equal(trellis_values(codes, bits).numpy(), values_by_loop(codes.numpy(), bits))


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_the_search_finds_the_best_ring_with_its_seam(bits):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(bits))
    codes = trellis_codes(x, torch.ones_like(x), bits)
    costs = (trellis_values(codes, bits) - x).double().square().sum(dim=0)
    for column in range(x.shape[1]):
        past = 0
        for row in range(-(-WINDOW // bits), 0, -1):
            past = past << bits | int(codes[-row, column])
        past &= (1 << (WINDOW - bits)) - 1
        assert float(costs[column]) == pytest.approx(least_cost(x[:, column].numpy(), bits, past), rel=1e-5)
        seams = range(0, 1 << (WINDOW - bits), 1 if bits == 5 else 7)
        best = min(least_cost(x[:, column].numpy(), bits, other) for other in seams)
        assert float(costs[column]) < 1.1 * best


def test_costs_count():
    """A row that costs a thousand times more comes out nearly exact, at the expense of the others."""
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(3))
    costs = torch.ones_like(x)
    costs[::4] = 1000.0
    even = (trellis_values(trellis_codes(x, torch.ones_like(x), 2), 2) - x).square()
    weighted = (trellis_values(trellis_codes(x, costs, 2), 2) - x).square()
    assert weighted[::4].mean() < 0.1 * even[::4].mean()


@pytest.mark.parametrize("bits", range(1, 9))
def test_error_on_a_gaussian(bits):
    x = torch.randn(256, 160, generator=torch.Generator().manual_seed(bits))
    found = float(
        (trellis_values(trellis_codes(x / SPREAD[bits], torch.ones_like(x), bits), bits) * SPREAD[bits] - x)
        .square()
        .mean()
    )
    assert found == pytest.approx(TRELLIS_MSE[bits], rel=0.03)
    assert shannon_mse(bits) < found < LLOYD_MAX.get(bits, np.inf)
    assert gaussian_mse(parse_format(f"tcq{bits}:b64")) == TRELLIS_MSE[bits]
    # Little more than half of what scalar codes of as many bits leave.
    if bits in (2, 3, 4, 5, 6):
        assert found < 0.65 * gaussian_mse(parse_format(f"lloyd{bits}:row:fp32"))


@pytest.mark.parametrize(
    "text", ["tcq2:row", "tcq3:b64", "tcq4:b32:q8", "tcq5:flat64:fp32", "tcq1:tensor:bf16"]
)
def test_encode_decode_and_product(text):
    fmt = parse_format(text)
    weight = (
        torch.randn(50, 100, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 0, 50)[:, None]
    )
    packed = encode(weight, fmt)
    whole = decode(packed)
    bits = sum(8 * part.numel() * part.element_size() for part in packed.parts().values())
    assert bits == stored_size(fmt, weight.shape).total
    codes = unpack_codes(packed.codes, fmt.bits, 100)
    ratio = whole / values_by_loop(codes.numpy(), fmt.bits)
    for row in (0, 3, 49):  # what is left after the table is the block's scale
        assert len(torch.unique((ratio[row, :16] / ratio[row, 0]).round(decimals=4))) == 1
    assert torch.equal(decode(packed, rows=torch.tensor([7, 0, 49, 7])), whole[[7, 0, 49, 7]])
    assert torch.equal(decode(packed, rows=slice(10, 40, 3)), whole[10:40:3])
    x = torch.randn(3, 100)
    torch.testing.assert_close(product(x, packed), x @ whole.T, rtol=1e-4, atol=1e-4)
    assert kernel_for(fmt, dtype=torch.float32).name == "reference"
    searched = METHODS["scale-search"].encode(weight, fmt, None)
    assert (decode(searched) - weight).square().sum() <= (whole - weight).square().sum()


def test_blocks_of_zeros_and_any_row():
    weight = torch.randn(20, 64)
    weight[5] = 0.0
    whole = decode(encode(weight, parse_format("tcq3:b32")))
    assert torch.equal(whole[5], torch.zeros(64))
    assert (whole - weight).square().mean() < 0.05


@pytest.mark.parametrize("path", ["portable", "avx2"])
def test_every_instruction_set_chooses_the_same_codes(path, monkeypatch):
    from kbit import _core

    if path not in _core.paths():
        pytest.skip(f"no {path} here")
    x = torch.randn(70, 9, generator=torch.Generator().manual_seed(1))
    expected = [trellis_codes(x, torch.ones_like(x), bits) for bits in (1, 3, 4, 8)]
    monkeypatch.setenv("KBIT_KERNEL", path)
    for bits, codes in zip((1, 3, 4, 8), expected, strict=True):
        assert torch.equal(trellis_codes(x, torch.ones_like(x), bits), codes)


def test_refusals():
    with pytest.raises(FormatError, match="needs 4 rows or more, given 3"):
        encode(torch.randn(3, 64), parse_format("tcq3:b64"))
    with pytest.raises(FormatError, match="root mean square"):
        parse_format("tcq3:b64:affine")
    with pytest.raises(FormatError, match="NaN or infinite"):
        encode(torch.full((16, 64), torch.nan), parse_format("tcq3:b64"))
    with pytest.raises(FormatError, match="a16"):
        kernel_for(parse_format("tcq3:b64"), numerics="a8")
    assert {f"tcq{k}" for k in range(1, 9)} <= set(DATATYPES)
