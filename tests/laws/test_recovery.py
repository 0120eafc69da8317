"""Each form fitted to exact values of itself gives its parameters back."""

import numpy as np
import pytest

from kbit.laws import fit
from kbit.laws.forms import FORMS
from kbit.laws.model import Model

SIZES, DATA = np.geomspace(5e7, 2e10, 7), np.geomspace(1e9, 5e11, 6)
N, D = (a.ravel() for a in np.meshgrid(SIZES, DATA))
BITS = np.resize([2.0, 3.0, 4.0, 6.0, 8.0], N.size)
STORED = np.geomspace(1e6, 1e11, 40)
LOSS = np.linspace(1.8, 4.2, 30)

# parameters of published fits where there are some (Besiroglu, Kaplan, Gadre, Muennighoff, Kumar)
TRUTH = {
    "power-law": ({"stored_bits": STORED}, {"limit": 1.2, "A": 40.0, "alpha": 0.28}),
    "offset-by-bits": (
        {"params": N, "bits": BITS},
        {"limit": 1.5, "A": 60.0, "alpha": 0.3, "offset[6]": 0.002, "offset[4]": 0.03, "offset[3]": 0.09,
         "offset[2]": 0.4},
    ),
    "chinchilla": (
        {"params": N, "tokens": D},
        {"E": 1.8172, "A": 477.8, "B": 2143.4, "alpha": 0.3473, "beta": 0.3672},
    ),
    "chinchilla-tied": (
        {"params": N, "tokens": D}, {"E": 1.8688, "A": 521.0, "B": 1488.0, "alpha": 0.3527}),
    "kaplan": (
        {"params": N, "tokens": D},
        {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
    ),
    "over-training": ({"params": N, "tokens": D}, {"E": 1.8366, "a": 166.2, "c": 366.7, "b": 0.27285}),
    "data-constrained": (
        {"params": N, "tokens": D, "unique_tokens": D / np.resize([1.0, 4.0, 16.0, 60.0], N.size)},
        {"E": 1.8691, "A": 520.8, "B": 1487.7, "alpha": 0.35266, "R_D": 15.3878, "R_N": 5.3097},
    ),
    "effective-parameters": (
        {"params": N, "tokens": D, "bits": BITS},
        {"E": 2.7648, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "beta": 0.4965, "gamma": 2.6745},
    ),
    "post-training-damage": (
        {"params": N, "tokens": D, "bits": BITS},
        {"C": 0.0598, "gamma_D": 0.5068, "gamma_N": 0.3439, "gamma": 0.5907},
    ),
    "low-bit-damage": (
        {"params": N, "tokens": D, "bits": BITS}, {"K": 0.08, "beta": 0.53, "alpha": 0.23, "gamma": 5.5}),
    "capacity-by-error": (
        {"params": N, "mse": np.resize([1e-6, 1e-3, 0.009, 0.03, 0.1, 0.3], N.size)},
        {"limit": 1.5, "A": 60.0, "alpha": 0.3, "c": 4.0, "p": 0.8},
    ),
    "capacity-free": (
        {"params": N, "mse": np.resize([1e-6, 2e-3, 0.009, 0.03, 0.1, 0.3], N.size)},
        {"limit": 1.5, "A": 60.0, "alpha": 0.3, "loss_1": 0.05, "loss_2": 0.4, "loss_3": 2.0},
    ),
    "effective-by-bits": (
        {"params": N, "bits": BITS},
        {"limit": 1.5, "A": 60.0, "alpha": 0.3, "eff[6]": 0.97, "eff[4]": 0.8, "eff[3]": 0.5, "eff[2]": 0.1},
    ),
    "sigmoid-link": ({"loss": LOSS}, {"chance": 0.25, "range": 0.6, "slope": 4.0, "middle": 2.9}),
    "exponential-link": ({"loss": LOSS}, {"limit": 0.8, "k": 2.5, "gamma": 0.7}),
    "broken-power-law": (
        {"stored_bits": STORED},
        {"limit": 0.5, "A": 30.0, "c_0": 0.15, "c_1": 0.4, "d": 1e8, "f": 0.4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in FORMS.values() if not f.is_interpolation])
def test_exact_values_give_the_parameters_back(name):
    inputs, truth = TRUTH[name]
    form = FORMS[name]
    direction = form.directions[-1]
    table = dict(inputs)
    columns = {**inputs}
    if form.levels_input is not None:
        columns |= {f"{form.offset.name}[{k}]": (inputs["bits"] == k).astype(float) for k in (6, 4, 3, 2)}
    from dataclasses import replace

    offsets = tuple(replace(form.offset, name=n) for n in truth if "[" in n) if form.offset else ()
    model = Model(
        form=form, parameters=form.parameters + offsets, sign=1.0 if direction == "falling" else -1.0
    )
    theta = model.search(np.array([truth[n] for n in model.names]))
    table["value"] = model.values(theta[None], columns)[0]
    found = fit(name, table, holdout=None, direction=direction, resamples=3, interval="bootstrap", starts=12)
    fitted = found.predict(inputs).value
    assert np.abs(fitted / table["value"] - 1).max() < 1e-5
    for key, value in truth.items():
        assert found.parameters[key] == pytest.approx(value, rel=2e-3), key
