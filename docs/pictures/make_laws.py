"""Draws docs/pictures/laws/NAME.png, each form on published data that ship with kbit.

    python docs/pictures/make_laws.py [LAW …]

Three forms are about runs whose numbers are not public as a table: they are drawn from the constants of their
papers with 5% of noise (damage) or 0.4% (loss), and their pictures' names say so (`NAME-simulated.png`).
"""

import sys
from pathlib import Path

import numpy as np

from kbit.formats import gaussian_mse, parse_format
from kbit.laws import fit
from kbit.laws.files import read_table
from kbit.laws.forms import FORMS
from kbit.laws.model import Model
from kbit.laws.published import published
from kbit.laws.table import where
from kbit.report.law_picture import save_law_picture

OUT = Path(__file__).parent / "laws"
ACCURACY = {"accuracy": "accuracy_percent"}
LOSS = {"loss": "loss_nats_c4"}


def lambada(**conditions):
    """LAMBADA accuracies, with each k's squared error on a Gaussian in groups of 128."""
    rows = where(
        read_table(published("qllm-eval-lambada").path),
        {name.replace("_at_least", ">"): v for name, v in conditions.items()},
    )
    error = {k: gaussian_mse(parse_format(f"int{k}:b128")) for k in (2, 3, 4, 8)} | {16: 1e-9}
    return dict(rows) | {"mse": np.array([error[int(k)] for k in rows["bits"]])}


def over_trained():
    rows = where(read_table(published("gadre-over-training").path), {"training_data": "rpj"})
    return dict(rows) | {"accuracy": 1.0 - np.array(rows["error_17_tasks"], dtype=float)}


def repeated():
    return read_table(published("muennighoff-repeated-data").path)


def simulated(law, **truth):
    """24 runs in bits 3 to 6 around a paper's constants."""
    form = FORMS[law]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    size = np.repeat(np.geomspace(5e7, 2e10, 6), 4)
    columns = {"params": size, "tokens": size * np.resize([10.0, 40.0, 160.0], 24)}
    columns["bits"] = np.resize([3.0, 4.0, 5.0, 6.0], 24)
    curve = model.values(model.search(np.array([[truth[n] for n in model.names]])), columns)[0]
    spread = 0.05 if "damage" in law else 0.004
    noise = np.exp(spread * np.random.default_rng(0).normal(size=24))
    return columns | {"value": curve * noise}


# law -> its rows, the columns that names do not say, and what differs from a plain fit
CASES = {
    "power-law": (lambda: lambada(family="OPT", bits=16), ACCURACY, {}),
    "interpolation": (lambda: lambada(family="OPT", bits=4), ACCURACY, {}),
    "broken-power-law": (lambda: lambada(family="OPT", bits_at_least=4), ACCURACY, {}),
    "offset-by-bits": (lambda: lambada(family="OPT", bits_at_least=4), ACCURACY, {}),
    "effective-by-bits": (lambda: lambada(family="OPT", bits_at_least=4), ACCURACY, {}),
    "capacity-by-error": (lambda: lambada(family="Bloom", bits_at_least=3), ACCURACY, {}),
    "capacity-free": (lambda: lambada(family="Bloom", bits_at_least=3), ACCURACY, {}),
    "chinchilla": (over_trained, LOSS, {}),
    "chinchilla-tied": (over_trained, LOSS, {}),
    "kaplan": (over_trained, LOSS, {}),
    "over-training": (over_trained, LOSS, {}),
    "data-constrained": (repeated, {"loss": "loss_nats"}, {}),
    "sigmoid-link": (over_trained, LOSS | {"accuracy": "accuracy"}, {}),
    "exponential-link": (over_trained, LOSS | {"value": "error_17_tasks"}, {"direction": "rising"}),
    "post-training-damage": (
        lambda: simulated("post-training-damage", C=0.0598, gamma_D=0.5068, gamma_N=0.3439, gamma=0.5907),
        {},
        {},
    ),
    "low-bit-damage": (lambda: simulated("low-bit-damage", K=0.08, beta=0.53, alpha=0.23, gamma=5.5), {}, {}),
    "effective-parameters": (
        lambda: simulated(
            "effective-parameters", E=2.7648, A=4299.0, B=18060.0, alpha=0.4965, beta=0.4965, gamma=2.6745
        ),
        {},
        {},
    ),
}
SIMULATED = ("post-training-damage", "low-bit-damage", "effective-parameters")


def main():
    for law in sys.argv[1:] or CASES:
        rows, columns, options = CASES[law]
        table = rows()
        found = fit(law, table, columns=columns, holdout=None, resamples=200, starts=12, **options)
        name = f"{law}-simulated.png" if law in SIMULATED else f"{law}.png"
        save_law_picture(found, table, columns=columns, out=OUT / name, scale=1.25)
        print(name, {n: float(f"{v:.4g}") for n, v in found.parameters.items()}, flush=True)


if __name__ == "__main__":
    main()
