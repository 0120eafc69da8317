"""Codes of one weight against a direct implementation, and what no step may do: raise the error."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.formats import decode, encode, parse_format
from kbit.quantize.codes.choose import Moments, Recipe, choose_codes
from kbit.quantize.codes.descent import descend
from kbit.quantize.codes.gptq import activation_order, gptq_codes
from kbit.quantize.codes.grid import grid_of, with_codes
from kbit.quantize.codes.hessian import damped, quadratic_error
from kbit.quantize.codes.refit import refit_scales
from kbit.quantize.codes.scale_search import search_scales

FORMATS = (
    "int3:b32", "nf2:b16", "nf4:flat48", "uint3:b32", "e2m1:row", "int2:tensor", "uint4:row:fp32", "int1:b16",
    "nf3:b16:q8", "int3:b16:q8:affine", "int4:b32:center",
)  # fmt: skip


def problem(rows=24, cols=72, tokens=300, seed=0):
    """A weight, and inputs with a few strong directions, as activations have."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(cols, cols, generator=generator) * torch.logspace(0, -1.5, cols)[:, None]
    inputs = torch.randn(tokens, cols, generator=generator) @ mix
    return torch.randn(rows, cols, generator=generator), inputs


def moments(inputs, before=None):
    cross = None if before is None else (before.T @ inputs).double()
    return Moments(hessian=(inputs.T @ inputs).double(), cross=cross, tokens=len(inputs))


def obs_by_hand(weight, hessian, levels, order):
    """Optimal brain surgery as it is derived: after each column the inverse Hessian loses its row and column.

    float64, explicit updates (Hassibi & Stork 1993, eq. 5; Frantar & Alistarh 2022), no Cholesky factor.
    """
    w, inverse = weight.copy(), np.linalg.inv(hessian)
    out = np.zeros_like(w)
    for column in order:
        distance = np.abs(levels[:, column, :] - w[:, column, None])
        out[:, column] = np.take_along_axis(levels[:, column, :], distance.argmin(1)[:, None], 1)[:, 0]
        delta = (w[:, column] - out[:, column]) / inverse[column, column]
        w -= np.outer(delta, inverse[column])
        inverse = inverse - np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return out


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("ordered", [False, True])
def test_gptq_is_optimal_brain_surgery_column_by_column(fmt, ordered, monkeypatch):
    monkeypatch.setattr("kbit.quantize.codes.gptq.PANEL", 16)
    weight, inputs = problem()
    hessian = damped((inputs.T @ inputs).double() / len(inputs))
    packed = encode(weight, parse_format(fmt))
    grid = grid_of(packed)
    order = activation_order(hessian) if ordered else torch.arange(weight.shape[1])
    codes = gptq_codes(weight, hessian, grid, order=None if ordered else order)
    entries = packed.format.datatype.entries()
    levels = np.stack(
        [grid.values(torch.full(weight.shape, i)).double().numpy() for i in range(len(entries))], -1
    )
    wanted = obs_by_hand(weight.double().numpy(), hessian.matrix.double().numpy(), levels, order.tolist())
    got = decode(with_codes(packed, codes)).numpy()
    # A value within rounding of a midpoint may go either way, and what follows with it: at most a row or two.
    same = np.isclose(got, wanted, atol=1e-5).all(axis=1)
    assert same.mean() >= 0.9
    assert not np.allclose(got, decode(packed).numpy())


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("name", ["importance", "gptq", "descent"])
def test_the_error_is_below_that_of_nearest(fmt, name):
    from kbit.quantize.method import METHODS

    weight, inputs = problem(seed=3)
    chosen = choose_codes(weight, parse_format(fmt), moments(inputs), METHODS[name].recipe)
    error = (inputs @ (weight - decode(chosen.packed)).T).square().sum() / len(inputs)
    plain = (inputs @ (weight - decode(encode(weight, parse_format(fmt)))).T).square().sum() / len(inputs)
    assert float(error) == pytest.approx(chosen.error, rel=1e-3)
    assert float(plain) == pytest.approx(chosen.nearest_error, rel=1e-3)
    limit = {"importance": 1.0, "gptq": 0.9, "descent": 0.85}[name]
    assert chosen.error <= limit * chosen.nearest_error


def test_descent_ends_where_no_single_code_can_be_bettered():
    weight, inputs = problem(rows=5, cols=12)
    matrix = damped((inputs.T @ inputs).double() / len(inputs)).matrix
    packed = encode(weight, parse_format("int2:row"))
    grid = grid_of(packed)
    swept = descend(weight, matrix, grid, grid.nearest(weight, slice(None))[0], sweeps=50)
    assert swept.changed == 0
    value = grid.values(swept.codes)
    least = quadratic_error(weight - value, matrix)
    for row in range(5):
        for column in range(12):
            for code in range(3):
                other = swept.codes.clone()
                other[row, column] = code
                assert quadratic_error(weight - grid.values(other), matrix) >= least - 1e-4 * least


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 20), st.integers(2, 70), st.sampled_from(FORMATS), st.integers(0, 99), st.integers(1, 60)
)
def test_no_step_raises_the_error(rows, cols, fmt, seed, tokens):
    weight, inputs = problem(rows, cols, tokens, seed)
    matrix = damped((inputs.T @ inputs).double() / tokens).matrix
    packed = encode(weight, parse_format(fmt))
    codes = grid_of(packed).nearest(weight, slice(None))[0]
    errors = [quadratic_error(weight - grid_of(packed).values(codes), matrix)]
    for _ in range(2):
        codes = descend(weight, matrix, grid_of(packed), codes, sweeps=1).codes
        errors.append(quadratic_error(weight - grid_of(packed).values(codes), matrix))
        packed = refit_scales(weight, matrix, packed, codes)
        errors.append(quadratic_error(weight - grid_of(packed).values(codes), matrix))
    for before, after in itertools.pairwise(errors):
        assert after <= before * (1 + 1e-4) + 1e-5


def test_a_refitted_scale_is_the_least_squares_one():
    # One block a row: the scale is <W H, T> / <T H, T>, here by a solver on the square root of H.
    weight, inputs = problem(rows=6, cols=40)
    matrix = (inputs.T @ inputs) / len(inputs)
    packed = encode(weight, parse_format("int3:row:fp32"))
    codes = grid_of(packed).nearest(weight, slice(None))[0]
    fitted = refit_scales(weight, matrix, packed, codes).scales.reshape(-1)
    for row in range(6):
        table = grid_of(packed).entries[codes[row].int()]
        wanted = torch.linalg.lstsq((inputs @ table)[:, None], (inputs @ weight[row])[:, None]).solution
        assert float(fitted[row]) == pytest.approx(float(wanted), rel=1e-3)


def test_searched_scales_are_no_worse_than_a_fine_grid():
    weight, _ = problem(rows=4, cols=32)
    importance = torch.linspace(0.1, 3, 32)
    fmt = parse_format("int2:b32:fp32")
    entries = torch.tensor(fmt.datatype.entries())

    def cost(scale):
        grid = torch.round(weight / scale).clamp(-1, 1) * scale
        return (importance * (weight - grid) ** 2).sum(dim=1)

    scales, offsets = search_scales(weight, fmt, entries, importance)
    assert offsets is None
    tried = weight.abs().amax(dim=1, keepdim=True) * torch.linspace(0.05, 1.2, 2000)
    best = torch.stack([cost(tried[:, i : i + 1]) for i in range(2000)]).amin(dim=0)
    assert bool((cost(scales.reshape(4, 1)) <= best * 1.03).all())


def test_the_target_follows_the_original_outputs():
    weight, before = problem(rows=8, cols=16, tokens=500)
    inputs = before + 0.3 * torch.randn(500, 16, generator=torch.Generator().manual_seed(5))
    recipe = Recipe(search=True, feedback=True, rounds=2, follow=True, damping=1e-4)
    fmt = parse_format("int8:row")
    wanted = before @ weight.T
    got = inputs @ decode(choose_codes(weight, fmt, moments(inputs, before), recipe).packed).T
    blind = inputs @ decode(choose_codes(weight, fmt, moments(inputs), recipe).packed).T
    # The least that any weight can reach on these inputs.
    least = wanted - inputs @ torch.linalg.lstsq(inputs, wanted).solution
    assert float((wanted - got).square().sum()) <= 1.01 * float(least.square().sum())
    assert float((wanted - got).square().sum()) < 0.9 * float((wanted - blind).square().sum())


def test_damping_rises_step_by_step_and_is_told():
    singular = torch.zeros(8, 8, dtype=torch.float64)
    singular[:2, :2] = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    singular[2:, 2:] = torch.eye(6) * 1e-12
    found = damped(singular, 0.0)
    assert found.raised
    assert found.damping in (1e-6, 1e-5, 1e-4)
    torch.linalg.cholesky(found.matrix)
    indefinite = torch.diag(torch.tensor([1.0, 1.0, 1.0])).double()
    indefinite[0, 1] = indefinite[1, 0] = 1.5
    found = damped(indefinite, 0.01)
    assert (found.damping, found.raised) == (1.0, True)
    assert not damped(torch.eye(4).double()).raised
    with pytest.raises(ValueError, match="NaN or infinite"):
        damped(torch.full((2, 2), float("nan")))


def test_dead_inputs_are_counted_and_harmless():
    weight, inputs = problem()
    inputs[:, [3, 40]] = 0
    for recipe in (
        Recipe(search=False, feedback=True),
        Recipe(search=True, feedback=True, rounds=1, follow=True),
    ):
        chosen = choose_codes(weight, parse_format("nf4:b16"), moments(inputs, inputs), recipe)
        assert chosen.dead_inputs == 2
        dense = decode(chosen.packed)
        assert bool(torch.isfinite(dense).all())
        # Nothing else is known of their weights, so they stay near what they were.
        assert float((dense[:, [3, 40]] - weight[:, [3, 40]]).abs().max()) < 0.6
    everything_dead = choose_codes(weight, parse_format("nf4:b16"), moments(inputs * 0), recipe)
    assert everything_dead.dead_inputs == 72
    assert bool(torch.isfinite(decode(everything_dead.packed)).all())


@pytest.mark.parametrize("fmt", ["tcq3:b32:q8", "tcq2:row"])
def test_a_column_coded_as_a_whole_passes_its_error_on(fmt):
    weight, inputs = problem(rows=48, cols=64)
    fmt, given = parse_format(fmt), moments(inputs)
    nearest = choose_codes(weight, fmt, given, Recipe(search=False, feedback=False))
    gptq = choose_codes(weight, fmt, given, Recipe(search=False, feedback=True))
    descent = choose_codes(weight, fmt, given, Recipe(search=True, feedback=True, rounds=1))
    assert gptq.error < 0.8 * nearest.error
    assert descent.error <= gptq.error
    scalar = parse_format(str(fmt).replace("tcq", "lloyd"))
    density = choose_codes(weight, scalar, given, Recipe(search=True, feedback=True, rounds=2))
    assert descent.error < 0.85 * density.error
    # What is stored is what was chosen.
    hessian = (inputs.T @ inputs / len(inputs)).float()
    stored = quadratic_error(weight - decode(descent.packed), hessian)
    assert stored == pytest.approx(descent.error, rel=1e-3)
