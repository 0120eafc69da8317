"""The formulas of the table in `forms`, each written once; slopes follow from `Dual`."""

import itertools
from collections.abc import Mapping

import numpy as np

from kbit.laws.dual import Array, Dual, exp, log, logistic, minimum, power, softplus

Values = Mapping[str, Dual]
Columns = Mapping[str, Array]
MSE_KNOTS = (-3.0, -2.0, -1.0, 0.0)  # decimal logarithms of the squared error where the free function bends


def power_law(p: Values, x: Columns, sign: float) -> Dual:
    """Hestness et al. 2017, eq. 1, in stored bits."""
    return p["limit"] + sign * (p["A"] * power(x["stored_bits"], -p["alpha"]))


def offset_by_bits(p: Values, x: Columns, sign: float) -> Dual:
    """A power law in parameters, and what each k but the largest loses."""
    curve = p["limit"] + sign * (p["A"] * power(x["params"], -p["alpha"]))
    for name, value in p.items():
        if name.startswith("offset["):
            curve = curve + sign * (value * x[name])
    return curve


def chinchilla(p: Values, x: Columns, sign: float) -> Dual:
    """Hoffmann et al. 2022, eq. 2."""
    return p["E"] + p["A"] * power(x["params"], -p["alpha"]) + p["B"] * power(x["tokens"], -p["beta"])


def chinchilla_tied(p: Values, x: Columns, sign: float) -> Dual:
    """The same with one exponent."""
    return p["E"] + p["A"] * power(x["params"], -p["alpha"]) + p["B"] * power(x["tokens"], -p["alpha"])


def kaplan(p: Values, x: Columns, sign: float) -> Dual:
    """Kaplan et al. 2020, eq. 1.5."""
    by_size = exp(p["alpha_N"] / p["alpha_D"] * (log(p["N_c"]) - np.log(x["params"])))
    by_data = p["D_c"] / x["tokens"]
    return power(by_size + by_data, p["alpha_D"])


def over_training(p: Values, x: Columns, sign: float) -> Dual:
    """Gadre et al. 2024, eq. 4; M·N is the number of tokens."""
    by_size = p["a"] * power(x["params"], -p["b"])
    return p["E"] + by_size + p["c"] * power(x["tokens"] * np.sqrt(6.0), -p["b"])


def data_constrained(p: Values, x: Columns, sign: float) -> Dual:
    """Muennighoff et al. 2023, eqs. 5 to 7, with the exponents tied as in their fit.

    Repeated data and parameters beyond the compute-optimal number for the unique data count less and less.
    """
    unique = np.minimum(x["unique_tokens"], x["tokens"])
    repeats = x["tokens"] / unique - 1.0
    data = unique * (1.0 + p["R_D"] * (1.0 - exp(-(1.0 / p["R_D"]) * repeats)))
    # N = G² D at the optimum of A/N^a + B/D^a for a fixed product N·D, with G = (A/B)^(1/2a)
    ratio = exp((log(p["A"]) - log(p["B"])) / p["alpha"])
    base = minimum(ratio * unique, x["params"])
    excess = x["params"] / base - 1.0
    size = base * (1.0 + p["R_N"] * (1.0 - exp(-(excess / p["R_N"]))))
    return p["E"] + p["A"] * power(size, -p["alpha"]) + p["B"] * power(data, -p["alpha"])


def effective_parameters(p: Values, x: Columns, sign: float) -> Dual:
    """Kumar et al. 2024, eq. 3: weights of P bits count as N·(1 - e^(-P/gamma)) parameters."""
    share = 1.0 - exp(-(1.0 / p["gamma"]) * x["bits"])
    by_size = p["A"] * power(x["params"] * share, -p["alpha"])
    return p["E"] + by_size + p["B"] * power(x["tokens"], -p["beta"])


def post_training_damage(p: Values, x: Columns, sign: float) -> Dual:
    """Kumar et al. 2024, eq. 2: damage grows with tokens, falls with parameters and with bits."""
    growth = power(x["tokens"], p["gamma_D"]) * power(x["params"], -p["gamma_N"])
    return p["C"] * growth * exp(-(1.0 / p["gamma"]) * x["bits"])


def low_bit_damage(p: Values, x: Columns, sign: float) -> Dual:
    """Ouyang et al. 2024: the same with a power of the bits."""
    growth = power(x["tokens"], p["beta"]) * power(x["params"], -p["alpha"])
    return p["K"] * growth * power(x["bits"], -p["gamma"])


def capacity_by_error(p: Values, x: Columns, sign: float) -> Dual:
    """One curve for all formats: parameters count as N·e^(-c·mse^p), mse that of a unit Gaussian."""
    share = exp(-(p["c"] * power(np.maximum(x["mse"], 1e-30), p["p"])))
    return p["limit"] + sign * (p["A"] * power(x["params"] * share, -p["alpha"]))


def capacity_free(p: Values, x: Columns, sign: float) -> Dual:
    """The same with a free function: what is lost rises by `loss_j` along decade j of mse, level outside."""
    at = np.log10(np.maximum(x["mse"], 1e-30))
    lost: Dual | Array = np.zeros_like(at)
    for j, (left, right) in enumerate(itertools.pairwise(MSE_KNOTS), start=1):
        lost = p[f"loss_{j}"] * np.clip((at - left) / (right - left), 0.0, 1.0) + lost
    return p["limit"] + sign * (p["A"] * exp(p["alpha"] * (lost - np.log(x["params"]))))


def effective_by_bits(p: Values, x: Columns, sign: float) -> Dual:
    """Panferov et al. 2025: at each k a model counts as N·eff(k) parameters; eff of the largest k is 1."""
    size: Dual | Array = np.log(x["params"])
    for name, value in p.items():
        if name.startswith("eff["):
            size = log(value) * x[name] + size
    return p["limit"] + sign * (p["A"] * exp(-(p["alpha"] * size)))


def sigmoid_link(p: Values, x: Columns, sign: float) -> Dual:
    """Accuracy falls from chance + range to chance as the loss grows."""
    return p["chance"] + p["range"] * logistic(-(p["slope"] * (x["loss"] - p["middle"])))


def exponential_link(p: Values, x: Columns, sign: float) -> Dual:
    """Gadre et al. 2024, eq. 5: an error rises to its limit as the loss grows (an accuracy falls to it)."""
    return p["limit"] + sign * (p["k"] * exp(-(p["gamma"] * x["loss"])))


def broken_power_law(p: Values, x: Columns, sign: float) -> Dual:
    """Caballero et al. 2023, eq. 1 with one break."""
    size = np.log(x["stored_bits"])
    past = softplus((size - log(p["d"])) / p["f"])
    return p["limit"] + sign * (p["A"] * exp(-(p["c_0"] * size) - p["c_1"] * p["f"] * past))
