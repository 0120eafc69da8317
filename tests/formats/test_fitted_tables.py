"""Tables made from data, and the dynamic exponent type, against published values and bitsandbytes."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from kbit.formats import DATATYPES, decode, encode, gaussian_mse, parse_format
from kbit.formats.densities import fit_table, quantile_density
from kbit.formats.encoding import table_density
from kbit.formats.fitted_tables import Density, lloyd_entries
from kbit.formats.tables import float_entries, round_to_bfloat16

# Max 1960, table 1: squared error of the best quantiser of a unit Gaussian with 2^k levels.
LLOYD_MAX = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497}


@pytest.mark.parametrize("k", LLOYD_MAX)
def test_learned_codebooks_reach_lloyd_max(k: int) -> None:
    x = np.linspace(-7, 7, 140_001)
    mass = norm.pdf(x) * (x[1] - x[0])
    entries = lloyd_entries(2**k, Density(values=x, mass=mass))
    nearest = entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, x)]
    assert float(mass @ (x - nearest) ** 2) == pytest.approx(LLOYD_MAX[k], rel=5e-4)
    np.testing.assert_allclose(entries, -entries[::-1], atol=1e-3)


@pytest.mark.parametrize("k", [3, 4, 6])
def test_quantiles_are_those_of_the_paper(k: int) -> None:
    weight = torch.randn(300, 200, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.1
    q = np.quantile(weight.double().numpy(), np.arange(1, 2**k + 1) / (2**k + 1))
    expected = np.sort([*((q[1:] + q[:-1]) / 2), 0.0])
    expected /= np.abs(expected).max()
    got = encode(weight, parse_format(f"quantile{k}:tensor")).table.double().numpy()
    np.testing.assert_allclose(got, expected, rtol=2**-6, atol=2e-3)  # values are rounded to bfloat16
    assert 0.0 in got


def test_a_table_fits_its_own_weights() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(64, 256, generator=generator).pow(6) * 0.1  # far from a Gaussian
    for other in ("nf3:b64", "int3:b64", "quantile3:b64"):
        learned = (decode(encode(weight, parse_format("lloyd3:b64"))) - weight).square().mean()
        assert learned < 0.7 * (decode(encode(weight, parse_format(other))) - weight).square().mean()


def test_densities_add_up_to_that_of_the_whole() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(3))
    halves = [weight[:32], 1000 * weight[32:]]  # a layer counts by its weights, not by their size
    fmt = parse_format("lloyd4:b64:fp32")
    whole = fit_table("lloyd", 4, table_density(weight, fmt)).float()
    added = fit_table("lloyd", 4, table_density(halves[0], fmt) + table_density(halves[1], fmt)).float()
    torch.testing.assert_close(added, whole, atol=0.03, rtol=0)
    counts = quantile_density(halves[0]) + quantile_density(halves[1])
    assert counts.mass.sum() == weight.numel()


def test_zeros_and_constants_have_tables_too() -> None:
    for name in ("lloyd3", "quantile3", "lloyd1"):
        assert (decode(encode(torch.zeros(3, 70), parse_format(f"{name}:b64"))) == 0).all()
        constant = decode(encode(torch.full((3, 70), 0.5), parse_format(f"{name}:b64")))
        torch.testing.assert_close(constant, torch.full((3, 70), 0.5), rtol=1e-3, atol=0)


def test_learned_codebooks_lead_on_a_gaussian() -> None:
    for k in range(2, 9):
        others = [n for n, row in DATATYPES.items() if row.bits == k and row.scaling == "absmax"]
        best = min(gaussian_mse(parse_format(f"{n}:b64")) for n in others if not n.startswith("lloyd"))
        # At 8 bits bfloat16's own steps are as wide as a cell, and hold it back.
        assert gaussian_mse(parse_format(f"lloyd{k}:b64")) < best


@pytest.mark.parametrize("k", range(3, 9))
def test_dynamic_types_count_every_code(k: int) -> None:
    entries = DATATYPES[f"dyn{k}"].entries()
    assert len(entries) == 2**k
    assert entries[-1] == 1.0
    positive = entries[(entries > 0) & (entries < 1)]
    np.testing.assert_array_equal(positive, -entries[entries < 0][::-1])
    # One value in the smallest decade, twice as many in each next one.
    decades = np.floor(np.log10(positive) + 1e-9)
    assert [int((decades == d).sum()) for d in np.unique(decades)] == [2**i for i in range(k - 1)]


def test_tables_equal_those_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not installed")
    for k in range(3, 9):
        theirs = functional.create_dynamic_map(True, k - 1, k).numpy()
        ours = DATATYPES[f"dyn{k}"].entries()
        # Their map is padded with zeros to 256 entries.
        np.testing.assert_array_equal(np.unique(round_to_bfloat16(theirs)), ours)
        linear = np.unique(functional.create_linear_map(True, total_bits=k).numpy().round(6) + 0.0)
        ints = DATATYPES[f"int{k}"].entries()
        np.testing.assert_allclose(linear, ints / ints[-1], atol=2e-6)
    for e, m in ((2, 1), (4, 3), (3, 2), (2, 3)):
        theirs = np.unique(functional.create_fp8_map(True, e, m, 1 + e + m).numpy())
        ours = np.array(float_entries(e, m))
        np.testing.assert_allclose(theirs, ours / ours[-1], rtol=1e-5)
