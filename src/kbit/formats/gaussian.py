"""Expected squared error of a format on unit-Gaussian weights, by quadrature.

Given the scale, the entries' cells have closed-form second moments of a truncated Gaussian; what is
left is an integral over the block's largest magnitude (or its least and greatest value), done by
Gauss-Legendre quadrature in the probability of that order statistic.
"""

import math
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri

from kbit.formats.datatype import DataType
from kbit.formats.weight_format import WeightFormat

Array = np.ndarray

# What a scale covers where the format does not say: the figure depends on it only by its logarithm.
ROW_WEIGHTS = 4096
TENSOR_WEIGHTS = 4096 * 4096

TRELLIS_MSE = {
    1: 0.275912, 2: 0.073179, 3: 0.019372, 4: 0.005132, 5: 0.001379, 6: 0.000377, 7: 0.000107, 8: 0.000032
}  # fmt: skip
"""Of trellis-coded types, by k: there is no closed form, so counted on a million coded Gaussian weights."""

_NODES = 48
# A rounded scale is off by a relative error uniform in +-2^-(p+1) / s, s the significand in [1, 2) with
# log-uniform density: mean square 2^-2p / 12 * E[1/s^2], with E[1/s^2] = 3 / (8 ln 2).
_SIGNIFICAND_BITS = {"fp16": 10, "bf16": 7, "fp32": 23}
_LEAST_EXPONENT = {"fp16": -14, "bf16": -126, "fp32": -126}


def shannon_mse(bits_per_weight: float) -> float:
    """Least squared error of any code of a unit Gaussian at R bits a weight: 2^(-2R) (Shannon 1959).

    >>> shannon_mse(2.0)
    0.0625
    """
    return float(2.0 ** (-2.0 * bits_per_weight))


def distance_bits(mse: float, bits_per_weight: float) -> float:
    """Bits a weight by which a format stays behind Shannon's limit: log2(MSE / 2^(-2R)) / 2.

    >>> distance_bits(0.0625, 2.5)
    0.5
    """
    return 0.5 * math.log2(mse) + bits_per_weight


@cache
def gaussian_mse(fmt: WeightFormat, *, block: int | None = None) -> float:
    """Expected squared error of nearest encoding of independent unit-Gaussian weights.

    Args:
        fmt: any format. A table made from data is the one that infinitely many such weights would give. For
            trellis-coded types blocks and the rounding of scales are left out.
        block: weights under one scale; the format's own by default, 4,096 for `row` and 2^24 for
            `tensor`, whose true number the shape gives.

    Raises:
        ValueError: `block` is less than 2.
    """
    if not fmt.is_packed:
        return _rounding_mse(fmt.datatype)
    if fmt.datatype.window is not None:
        return TRELLIS_MSE[fmt.bits]
    if block is None:
        block = {"row": ROW_WEIGHTS, "tensor": TENSOR_WEIGHTS}.get(str(fmt.block)) or int(fmt.block)
    if block < 2:
        raise ValueError(f"a block of {block} weights: at least 2 are needed")
    entries = _entries(fmt, block)
    if fmt.scale == "q8":
        # A code is off by up to half a step of 1/255 of the largest of 256 scales.
        relative = 1 / (12 * 255**2)
    else:
        relative = 2.0 ** (-2 * _SIGNIFICAND_BITS[fmt.scale]) / 12 * 3 / (8 * math.log(2))
    if fmt.maps_range:
        return _range_mse(entries, block, relative, stretch=not fmt.datatype.stored_table)
    # Less its own mean, a block of B is Gaussian again, of variance 1 - 1/B.
    variance = 1 - 1 / block if fmt.has_offset else 1.0
    return variance * _absmax_mse(entries, block, relative, stretch=not fmt.datatype.stored_table)


def _entries(fmt: WeightFormat, block: int) -> Array:
    """The table, float64; where data make it, fitted to the density of scaled Gaussian weights."""
    fit = fmt.datatype.fit
    if fit is None:
        return fmt.datatype.entries().astype(np.float64)
    from kbit.formats.fitted_tables import Density, fitted_entries, grid

    if fit == "quantile":
        x = np.linspace(-6, 6, 120_001)
        density = Density(values=x, mass=np.exp(-(x**2) / 2))
    else:
        x = grid()
        density = Density(values=x, mass=_scaled_mass(x, block, in_range=fmt.maps_range))
    return fitted_entries(fit, fmt.bits, density).astype(np.float64)


def _scaled_mass(x: Array, block: int, *, in_range: bool) -> Array:
    """Expected mass of weights over their block's scale at x, counted by the scale squared."""
    p, weight = _legendre(_NODES)
    tail = -np.expm1(np.log(p) / block) / 2
    m = -ndtri(tail)
    step = x[1] - x[0]
    inside = np.exp(-((m[:, None] * x) ** 2) / 2) / math.sqrt(2 * math.pi) * m[:, None] * step
    inside = np.where(np.abs(x) < 1, inside, 0.0) / (1 - 2 * tail)[:, None]
    # The end takes 1 of B weights, half on either side; with an offset both ends are weights.
    ends = np.zeros_like(x)
    for end in (-1.0, 1.0):
        ends[np.argmin(np.abs(x - end))] = 1.0 if in_range else 0.5
    return np.asarray((weight * m**2) @ ((block - ends.sum()) * inside + ends))


def _absmax_mse(entries: Array, block: int, relative: float, *, stretch: bool = True) -> float:
    p, weight = _legendre(_NODES)
    # P(max |x| <= m) = (2 Phi(m) - 1)^B = p, solved for the tail so that large B keeps its digits.
    tail = -np.expm1(np.log(p) / block) / 2
    m = -ndtri(tail)
    scale = m / (np.abs(entries).max() if stretch else 1.0)
    values = scale[:, None] * entries
    inside = _cell_errors(values, -m, m) / (1 - 2 * tail)
    ends = np.stack([_nearest_error(values, -m), _nearest_error(values, m)]).mean(axis=0)
    total = (block - 1) * inside + ends + m**2 * relative
    return float(np.sum(weight * total) / block)


def _range_mse(entries: Array, block: int, relative: float, *, stretch: bool = True) -> float:
    p, weight = _legendre(_NODES)
    high = -ndtri(-np.expm1(np.log(p) / block))[:, None]
    # Given the greatest, the least of the other B - 1 is below a with 1 - (1 - Phi(a)/Phi(high))^(B-1).
    low = ndtri(-np.expm1(np.log(p) / (block - 1))[None, :] * ndtr(high))
    high = np.broadcast_to(high, low.shape)
    first, last = (entries[0], entries[-1]) if stretch else (-1.0, 1.0)
    scale = (high - low) / (last - first)
    values = scale[..., None] * (entries - first) + low[..., None]
    inside = _cell_errors(values, low, high) / (ndtr(high) - ndtr(low))
    # The two ends are entries, but for the rounding of offset and scale; the offset moves the whole
    # lattice, which costs the other weights nothing on average.
    ends = (low**2 + (high - low) ** 2 / 2) * 2 * relative
    total = (block - 2) * inside + ends
    return float(weight @ total @ weight / block)


def _legendre(nodes: int) -> tuple[Array, Array]:
    """Nodes and weights on (0, 1), crowded towards both ends, where quantiles bend without bound."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    t = (x + 1) / 2
    return t**2 * (3 - 2 * t), w * 3 * t * (1 - t)


def _cell_errors(values: Array, low: Array, high: Array) -> Array:
    """Integral of (x - nearest(x))^2 phi(x) over [low, high].

    Args:
        values: [..., entries] ascending.
        low: [...].
        high: [...].

    Returns:
        [...].
    """
    middle = (values[..., 1:] + values[..., :-1]) / 2
    edges = np.concatenate([low[..., None], middle, high[..., None]], axis=-1)
    edges = np.clip(edges, low[..., None], high[..., None])
    cdf = ndtr(edges)
    density = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi)
    mass, first = np.diff(cdf), -np.diff(density)
    second = mass - np.diff(edges * density)
    return np.asarray(np.sum(second - 2 * values * first + values**2 * mass, axis=-1))


def _nearest_error(values: Array, x: Array) -> Array:
    return np.asarray(np.min((values - x[:, None]) ** 2, axis=-1))


def _rounding_mse(datatype: DataType) -> float:
    """Squared error of rounding a unit Gaussian to a floating type: ulp^2 / 12 in each binade."""
    significand, least = _SIGNIFICAND_BITS[datatype.name], _LEAST_EXPONENT[datatype.name]
    exponents = np.arange(least, 6)
    edges = np.concatenate([[0.0], 2.0 ** np.arange(least + 1, 7)])
    mass = 2 * np.diff(ndtr(edges))
    return float(np.sum(mass * 4.0 ** (exponents - significand)) / 12)
