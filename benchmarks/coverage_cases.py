"""The laws that `coverage.py` draws from: true parameters, where models stand, and how noisy they are.

Parameters are those of published fits where there are some. Noise is a share of the response that all rows of
a model have in common (its seed) and one of each row's own; both have Student tails with five degrees of
freedom, because training runs have outliers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kbit.laws.forms import FORMS
from kbit.laws.model import Model

TAIL = 5.0


def _sizes(models, low=5e7, high=2e10):
    return np.geomspace(low, high, models)


def _scattered(models, low, high, step=0.6180339887):
    """Values spread over a range in an order that has nothing to do with size (golden-ratio sequence)."""
    return low * (high / low) ** np.mod(0.5 + step * np.arange(models), 1.0)


def _runs(models):
    size = _sizes(models)
    return {"params": size, "tokens": size * _scattered(models, 4.0, 400.0)}


def _repeated(models):
    runs = _runs(models)
    return runs | {"unique_tokens": runs["tokens"] / _scattered(models, 1.0, 80.0, step=0.7548776662)}


def _trained_in_bits(models):
    return _runs(models) | {"bits": np.resize([2.0, 3.0, 4.0, 6.0, 8.0], models)}


def _over_trained(models):
    size = _sizes(models)
    return {"params": size, "tokens": size * np.resize([5.0, 20.0, 80.0, 320.0, 640.0], models)}


def _each(inputs, **levels):
    """Every model at every level: rows of a model stand together."""
    (name, values), models = next(iter(levels.items())), next(iter(inputs.values())).size
    table = {role: np.repeat(column, len(values)) for role, column in inputs.items()}
    return table | {name: np.tile(np.asarray(values, dtype=float), models)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One law to draw from: `truth` by parameter, `inputs` from a number of models, and the noise."""

    truth: Mapping[str, float]
    inputs: Callable[[int], Mapping[str, np.ndarray]]
    models: tuple[int, ...]
    rows_of_a_model: int = 1
    model_noise: float = 0.0
    row_noise: float = 0.004
    falling: bool = True
    additive: bool = False  # noise in the unit of the response: an accuracy is of so many items, high or low


BITS = (16, 8, 4, 3)
MSE = (1e-6, 1e-4, 2e-3, 0.009, 0.035, 0.12)

CASES: Mapping[str, Case] = {
    "power-law": Case(
        truth={"limit": 1.2, "A": 40.0, "alpha": 0.28},
        inputs=lambda m: {"stored_bits": np.geomspace(1e6, 1e11, m)},
        models=(6, 8, 12, 24),
    ),
    "offset-by-bits": Case(
        truth={
            "limit": 1.8,
            "A": 60.0,
            "alpha": 0.3,
            "offset[8]": 0.002,
            "offset[4]": 0.03,
            "offset[3]": 0.09,
        },
        inputs=lambda m: _each({"params": _sizes(m)}, bits=BITS),
        rows_of_a_model=len(BITS),
        model_noise=0.004,
        row_noise=0.001,
        models=(6, 8, 12, 24),
    ),
    "chinchilla": Case(
        truth={"E": 1.8172, "A": 477.8, "B": 2143.4, "alpha": 0.3473, "beta": 0.3672},
        inputs=_runs,
        models=(12, 24, 48, 96),
    ),
    "chinchilla-tied": Case(
        truth={"E": 1.8688, "A": 521.0, "B": 1488.0, "alpha": 0.3527}, inputs=_runs, models=(12, 24, 48)
    ),
    "kaplan": Case(
        truth={"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
        inputs=_runs,
        models=(12, 24, 48),
    ),
    "over-training": Case(
        truth={"E": 1.8366, "a": 166.2, "c": 366.7, "b": 0.27285},
        inputs=_over_trained,
        models=(8, 12, 24, 48),
    ),
    "data-constrained": Case(
        truth={"E": 1.8691, "A": 520.8, "B": 1487.7, "alpha": 0.35266, "R_D": 15.3878, "R_N": 5.3097},
        inputs=_repeated,
        models=(48, 96, 192),
    ),
    "effective-parameters": Case(
        truth={"E": 2.7648, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "beta": 0.4965, "gamma": 2.6745},
        inputs=_trained_in_bits,
        models=(24, 48, 96),
    ),
    "post-training-damage": Case(
        truth={"C": 0.0598, "gamma_D": 0.5068, "gamma_N": 0.3439, "gamma": 0.5907},
        inputs=lambda m: _each(_runs(m), bits=(3, 4, 5, 6)),
        rows_of_a_model=4,
        model_noise=0.1,
        row_noise=0.1,
        models=(8, 12, 24, 48),
    ),
    "low-bit-damage": Case(
        truth={"K": 0.08, "beta": 0.53, "alpha": 0.23, "gamma": 5.5},
        inputs=lambda m: _each(_runs(m), bits=(2, 3, 4)),
        rows_of_a_model=3,
        model_noise=0.1,
        row_noise=0.1,
        models=(8, 12, 24, 48),
    ),
    "capacity-by-error": Case(
        truth={"limit": 1.8, "A": 60.0, "alpha": 0.3, "c": 4.0, "p": 0.8},
        inputs=lambda m: _each({"params": _sizes(m)}, mse=MSE),
        rows_of_a_model=len(MSE),
        model_noise=0.003,
        row_noise=0.001,
        models=(6, 8, 12, 24),
    ),
    "capacity-free": Case(
        truth={"limit": 1.8, "A": 60.0, "alpha": 0.3, "loss_1": 0.05, "loss_2": 0.35, "loss_3": 1.4},
        inputs=lambda m: _each({"params": _sizes(m)}, mse=MSE),
        rows_of_a_model=len(MSE),
        model_noise=0.003,
        row_noise=0.001,
        models=(6, 8, 12, 24),
    ),
    "effective-by-bits": Case(
        truth={"limit": 1.8, "A": 60.0, "alpha": 0.3, "eff[8]": 0.98, "eff[4]": 0.7, "eff[3]": 0.4},
        inputs=lambda m: _each({"params": _sizes(m)}, bits=BITS),
        rows_of_a_model=len(BITS),
        model_noise=0.003,
        row_noise=0.001,
        models=(6, 8, 12, 24),
    ),
    "sigmoid-link": Case(
        truth={"chance": 0.25, "range": 0.6, "slope": 4.0, "middle": 2.9},
        inputs=lambda m: {"loss": np.linspace(1.8, 4.2, m)},
        row_noise=0.01,
        additive=True,
        models=(12, 24, 48),
    ),
    "exponential-link": Case(
        truth={"limit": 0.8, "k": 2.5, "gamma": 0.7},
        inputs=lambda m: {"loss": np.linspace(1.8, 4.2, m)},
        row_noise=0.01,
        additive=True,
        models=(8, 12, 24, 48),
        falling=False,
    ),
    "broken-power-law": Case(
        truth={"limit": 0.5, "A": 30.0, "c_0": 0.15, "c_1": 0.4, "d": 1e8, "f": 0.4},
        inputs=lambda m: {"stored_bits": np.geomspace(1e6, 1e11, m)},
        models=(24, 48, 96),
    ),
}


def bind(name, inputs):
    """The form bound to the levels its truth names, columns with those of levels, and theta of the truth."""
    case, form = CASES[name], FORMS[name]
    extra = tuple(n for n in case.truth if "[" in n)
    offsets = tuple(replace(form.offset, name=n) for n in extra) if form.offset else ()
    model = Model(form=form, parameters=form.parameters + offsets, sign=1.0 if case.falling else -1.0)
    columns = dict(inputs)
    for label in extra:
        columns[label] = (inputs["bits"] == float(label.split("[")[1][:-1])).astype(float)
    return model, columns, model.search(np.array([case.truth[n] for n in model.names]))


def draw(case, curve, models, rng, draws):
    """Responses [draws, rows] around the true curve [rows]."""

    def noise(scale, count):
        spread = np.sqrt(TAIL / (TAIL - 2.0))  # of a Student variable of unit scale
        return scale * rng.standard_t(TAIL, size=(draws, count)) / spread

    common = np.repeat(noise(case.model_noise, models), case.rows_of_a_model, axis=1)
    whole = common + noise(case.row_noise, curve.size)
    return curve + whole if case.additive else curve * np.exp(whole)
