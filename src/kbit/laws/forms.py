"""The table of forms: one frozen row each, from which listing, fitting, docs and tests are made."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kbit.errors import LawError, did_you_mean
from kbit.laws import formulas
from kbit.laws.form import Form, Input, Parameter

INFINITY = math.inf
EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.5)

PARAMS = Input(role="params", unit="parameters")
TOKENS = Input(role="tokens", unit="tokens")
STORED_BITS = Input(role="stored_bits", unit="bits stored")
UNIQUE = Input(role="unique_tokens", unit="tokens, each counted once")
BITS = Input(role="bits", unit="bits for each weight", size=False)
MSE = Input(role="mse", unit="squared error on a unit Gaussian", size=False)
LOSS = Input(role="loss", unit="nats or bits, one of them throughout", size=False)
LOSSES = "loss in nats, or in bits"


def _scale(name: str, unit: str, meaning: str) -> Parameter:
    return Parameter(name=name, unit=unit, low=1e-12, high=1e40, meaning=meaning, log=True, linear=True)


def _exponent(name: str, meaning: str, grid: tuple[float, ...] = EXPONENTS) -> Parameter:
    return Parameter(name=name, unit="", low=1e-3, high=5.0, meaning=meaning, log=True, grid=grid)


def _free(name: str, unit: str, meaning: str, grid: tuple[float, ...]) -> Parameter:
    return Parameter(name=name, unit=unit, low=1e-12, high=1e40, meaning=meaning, log=True, grid=grid)


def _limit(unit: str = "response") -> Parameter:
    return Parameter(
        name="limit", unit=unit, low=-INFINITY, high=INFINITY, meaning="where the curve ends", linear=True
    )


ROWS = (
    Form(
        name="power-law",
        title="power law with a floor, in stored bits",
        formula="response = limit ± A · stored_bits^-alpha",
        parameters=(
            _limit(),
            _scale("A", "response · bits^alpha", "distance from the limit at one bit"),
            _exponent("alpha", "how fast the distance falls"),
        ),
        inputs=(STORED_BITS,),
        directions=("rising", "falling"),
        evaluate=formulas.power_law,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="Hestness et al. 2017 (arXiv 1712.00409), eq. 1",
        recommended_models=12,
        coverage=(0.956, 0.966),
    ),
    Form(
        name="offset-by-bits",
        title="one curve in parameters, with an offset for each k",
        formula="response = limit ± (A · params^-alpha + offset[k]); offset of the largest k is 0",
        parameters=(
            _limit(),
            _scale("A", "response · parameters^alpha", "distance from the limit at one parameter"),
            _exponent("alpha", "how fast the distance falls"),
        ),
        inputs=(PARAMS, Input(role="bits", unit="bits for each weight", size=False, levels=True)),
        directions=("rising", "falling"),
        evaluate=formulas.offset_by_bits,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="Dettmers & Zettlemoyer 2022 (arXiv 2212.09720), section 4: nearly parallel curves",
        offset=Parameter(
            name="offset",
            unit="response",
            low=-INFINITY,
            high=INFINITY,
            meaning="what k bits lose against the largest k",
            linear=True,
        ),
        recommended_models=8,
        coverage=(0.943, 0.950),
        bootstrap_from=96,
    ),
    Form(
        name="chinchilla",
        title="loss in parameters and tokens",
        formula="loss = E + A · params^-alpha + B · tokens^-beta",
        parameters=(
            _scale("E", "loss", "loss of a perfect model: the entropy of the text"),
            _scale("A", "loss · parameters^alpha", "what few parameters cost"),
            _scale("B", "loss · tokens^beta", "what little data costs"),
            _exponent("alpha", "how fast that of parameters falls"),
            _exponent("beta", "how fast that of data falls"),
        ),
        inputs=(PARAMS, TOKENS),
        directions=("falling",),
        evaluate=formulas.chinchilla,
        objective="huber-log",
        response=LOSSES,
        citation="Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2; Besiroglu et al. 2024 (arXiv 2404.10102)",
        recommended_models=48,
        coverage=(0.961, 0.965),
    ),
    Form(
        name="chinchilla-tied",
        title="loss in parameters and tokens, one exponent",
        formula="loss = E + A · params^-alpha + B · tokens^-alpha",
        parameters=(
            _scale("E", "loss", "loss of a perfect model"),
            _scale("A", "loss · parameters^alpha", "what few parameters cost"),
            _scale("B", "loss · tokens^alpha", "what little data costs"),
            _exponent("alpha", "how fast both fall"),
        ),
        inputs=(PARAMS, TOKENS),
        directions=("falling",),
        evaluate=formulas.chinchilla_tied,
        objective="huber-log",
        response=LOSSES,
        citation="Muennighoff et al. 2023 (arXiv 2305.16264), appendix A",
        recommended_models=48,
        coverage=(0.964, 0.970),
    ),
    Form(
        name="kaplan",
        title="loss in parameters and tokens, without a floor",
        formula="loss = ((N_c / params)^(alpha_N / alpha_D) + D_c / tokens)^alpha_D",
        parameters=(
            _free("N_c", "parameters", "where parameters limit", tuple(10.0 ** np.arange(4, 20, 2.0))),
            _free("D_c", "tokens", "where data limit", tuple(10.0 ** np.arange(4, 20, 2.0))),
            _exponent("alpha_N", "how fast loss falls with parameters", (0.04, 0.08, 0.16, 0.3)),
            _exponent("alpha_D", "how fast loss falls with data", (0.05, 0.1, 0.2, 0.4)),
        ),
        inputs=(PARAMS, TOKENS),
        directions=("falling",),
        evaluate=formulas.kaplan,
        objective="huber-log",
        response=LOSSES,
        citation="Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.5",
        recommended_models=48,
        coverage=(0.961, 0.963),
    ),
    Form(
        name="over-training",
        title="loss at a fixed ratio of tokens to parameters and beyond",
        formula="loss = E + a · params^-b + c · 6^(-b/2) · (M · params)^-b, with M = tokens / params",
        parameters=(
            _scale("E", "loss", "loss of a perfect model"),
            _scale("a", "loss · parameters^b", "what few parameters cost"),
            _scale("c", "loss · tokens^b", "what little data costs"),
            _exponent("b", "how fast both fall"),
        ),
        inputs=(PARAMS, TOKENS),
        directions=("falling",),
        evaluate=formulas.over_training,
        objective="squares",
        response=LOSSES,
        citation="Gadre et al. 2024 (arXiv 2403.08540), eq. 4",
        recommended_models=24,
        coverage=(0.961, 0.968),
    ),
    Form(
        name="data-constrained",
        title="loss when data repeat",
        formula="loss = E + A · N'^-alpha + B · D'^-alpha; N', D': what repetition leaves of params, tokens",
        parameters=(
            _scale("E", "loss", "loss of a perfect model"),
            _free("A", "loss · parameters^alpha", "what few parameters cost", (50.0, 300.0, 2e3, 1e4)),
            _free("B", "loss · tokens^alpha", "what little data costs", (100.0, 600.0, 4e3, 2e4)),
            _exponent("alpha", "how fast both fall", (0.25, 0.3, 0.35, 0.4, 0.45)),
            _free("R_D", "repetitions", "after how many repeated data are worth 1/e", (3.0, 15.0, 60.0)),
            _free("R_N", "multiples", "the same of excess parameters", (2.0, 5.0, 20.0)),
        ),
        inputs=(PARAMS, TOKENS, UNIQUE),
        directions=("falling",),
        evaluate=formulas.data_constrained,
        objective="huber-log",
        response=LOSSES,
        citation="Muennighoff et al. 2023 (arXiv 2305.16264), eqs. 5 to 7",
        recommended_models=48,
        coverage=(0.959, 0.970),
    ),
    Form(
        name="effective-parameters",
        title="loss when weights are trained in few bits",
        formula="loss = E + A · (params · (1 - exp(-bits / gamma)))^-alpha + B · tokens^-beta",
        parameters=(
            _scale("E", "loss", "loss of a perfect model"),
            _scale("A", "loss · parameters^alpha", "what few parameters cost"),
            _scale("B", "loss · tokens^beta", "what little data costs"),
            _exponent("alpha", "how fast that of parameters falls"),
            _exponent("beta", "how fast that of data falls"),
            _free("gamma", "bits", "bits after which more say little", (0.7, 1.5, 3.0, 5.0)),
        ),
        inputs=(PARAMS, TOKENS, BITS),
        directions=("falling",),
        evaluate=formulas.effective_parameters,
        objective="huber-log",
        response=LOSSES,
        citation="Kumar et al. 2024 (arXiv 2411.04330), eq. 3, for weights",
        recommended_models=48,
        coverage=(0.964, 0.968),
    ),
    Form(
        name="post-training-damage",
        title="what quantising after training costs",
        formula="damage = C · tokens^gamma_D / params^gamma_N · exp(-bits / gamma)",
        parameters=(
            _scale("C", "loss", "scale of the damage"),
            _exponent("gamma_D", "how fast it grows with data", (0.1, 0.3, 0.5, 0.8)),
            _exponent("gamma_N", "how fast it falls with parameters", (0.1, 0.3, 0.5, 0.8)),
            _free("gamma", "bits", "bits that lower it by e", (0.3, 0.6, 1.0, 2.0)),
        ),
        inputs=(PARAMS, TOKENS, BITS),
        directions=("falling",),
        evaluate=formulas.post_training_damage,
        objective="squares-log",
        response="damage: loss after quantising less loss before, in nats or in bits",
        citation="Kumar et al. 2024 (arXiv 2411.04330), eq. 2",
        recommended_models=12,
        coverage=(0.950, 0.956),
        bootstrap_from=96,
    ),
    Form(
        name="low-bit-damage",
        title="what quantising after training costs, a power of the bits",
        formula="damage = K · tokens^beta / (params^alpha · bits^gamma)",
        parameters=(
            _scale("K", "loss", "scale of the damage"),
            _exponent("beta", "how fast it grows with data", (0.1, 0.3, 0.5, 0.8)),
            _exponent("alpha", "how fast it falls with parameters", (0.1, 0.3, 0.5, 0.8)),
            Parameter(
                name="gamma",
                unit="",
                low=0.01,
                high=30.0,
                meaning="how fast it falls with bits",
                log=True,
                grid=(1.0, 3.0, 6.0, 10.0),
            ),
        ),
        inputs=(PARAMS, TOKENS, BITS),
        directions=("falling",),
        evaluate=formulas.low_bit_damage,
        objective="squares-log",
        response="damage: loss after quantising less loss before, in nats or in bits",
        citation="Ouyang et al. 2024 (arXiv 2411.17691)",
        recommended_models=12,
        coverage=(0.946, 0.957),
        bootstrap_from=96,
    ),
    Form(
        name="capacity-by-error",
        title="one curve for all formats, by their error on a Gaussian",
        formula="response = limit ± A · (params · exp(-c · mse^p))^-alpha",
        parameters=(
            _limit(),
            _scale("A", "response · parameters^alpha", "distance from the limit at one parameter"),
            _exponent("alpha", "how fast the distance falls"),
            _free("c", "", "how much error costs", (0.3, 1.0, 3.0, 10.0, 30.0)),
            _exponent("p", "how the cost grows with the error", (0.3, 0.5, 0.75, 1.0, 1.5)),
        ),
        inputs=(PARAMS, MSE),
        directions=("rising", "falling"),
        evaluate=formulas.capacity_by_error,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="after Panferov et al. 2025 (arXiv 2506.01863): one capacity function for all formats",
        recommended_models=8,
        coverage=(0.932, 0.949),
        bootstrap_from=96,
    ),
    Form(
        name="capacity-free",
        title="one free curve for all formats, by their error on a Gaussian",
        formula="response = limit ± A · (params · exp(-loss(mse)))^-alpha; loss rises by loss_1, loss_2 and "
        "loss_3 over the decades of mse from 0.001 to 1, straight in log mse between",
        parameters=(
            _limit(),
            _scale("A", "response · parameters^alpha", "distance from the limit at one parameter"),
            _exponent("alpha", "how fast the distance falls"),
            *(
                _free(
                    f"loss_{j}", "log parameters", f"lost from mse 1e-{4 - j} to 1e-{3 - j}", (0.03, 0.3, 2.0)
                )
                for j in (1, 2, 3)
            ),
        ),
        inputs=(PARAMS, MSE),
        directions=("rising", "falling"),
        evaluate=formulas.capacity_free,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="after Panferov et al. 2025 (arXiv 2506.01863): capacity is a function of the squared error",
        recommended_models=12,
        coverage=(0.936, 0.952),
        bootstrap_from=96,
    ),
    Form(
        name="effective-by-bits",
        title="one curve in effective parameters, a share of them for each k",
        formula="response = limit ± A · (params · eff[k])^-alpha; eff of the largest k is 1",
        parameters=(
            _limit(),
            _scale("A", "response · parameters^alpha", "distance from the limit at one parameter"),
            _exponent("alpha", "how fast the distance falls"),
        ),
        inputs=(PARAMS, Input(role="bits", unit="bits for each weight", size=False, levels=True)),
        directions=("rising", "falling"),
        evaluate=formulas.effective_by_bits,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="Panferov et al. 2025 (arXiv 2502.05003): parameter efficiency of each precision",
        recommended_models=24,
        coverage=(0.940, 0.961),
        bootstrap_from=96,
        offset=_free("eff", "share of parameters", "what a parameter of k bits counts", (0.3, 0.9)),
    ),
    Form(
        name="sigmoid-link",
        title="from a loss to an accuracy, with its chance level",
        formula="accuracy = chance + range / (1 + exp(slope · (loss - middle)))",
        parameters=(
            Parameter(
                name="chance",
                unit="accuracy",
                low=0.0,
                high=100.0,
                meaning="accuracy of guessing",
                linear=True,
            ),
            Parameter(
                name="range",
                unit="accuracy",
                low=0.0,
                high=100.0,
                meaning="what there is to gain",
                linear=True,
            ),
            _free("slope", "1/loss", "how steep", (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
            Parameter(
                name="middle",
                unit="loss",
                low=-50.0,
                high=50.0,
                meaning="loss half-way up",
                grid=(0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 4.0, 5.0),
            ),
        ),
        inputs=(LOSS,),
        directions=("falling",),
        evaluate=formulas.sigmoid_link,
        objective="squares",
        response="accuracy, as a share or in percent",
        citation="Grattafiori et al. 2024 (arXiv 2407.21783), section 3.2.1: a sigmoid from loss to accuracy",
        recommended_models=24,
        coverage=(0.943, 0.958),
        bootstrap_from=96,
    ),
    Form(
        name="exponential-link",
        title="from a loss to an error rate",
        formula="error = limit - k · exp(-gamma · loss); accuracy = limit + k · exp(-gamma · loss)",
        parameters=(
            _limit("error or accuracy"),
            _scale("k", "error or accuracy", "how far from the limit at no loss"),
            _exponent("gamma", "how fast the limit is reached", (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)),
        ),
        inputs=(LOSS,),
        directions=("rising", "falling"),
        evaluate=formulas.exponential_link,
        objective="squares",
        response="error rate (rising) or accuracy (falling)",
        citation="Gadre et al. 2024 (arXiv 2403.08540), eq. 5",
        recommended_models=12,
        coverage=(0.942, 0.956),
        bootstrap_from=96,
    ),
    Form(
        name="broken-power-law",
        title="a power law with one bend",
        formula="response = limit ± A · stored_bits^-c_0 · (1 + (stored_bits / d)^(1/f))^(-c_1 · f)",
        parameters=(
            _limit(),
            _scale("A", "response · bits^c_0", "distance from the limit at one bit"),
            _exponent("c_0", "how fast the distance falls before the bend", (0.1, 0.3, 0.6)),
            Parameter(
                name="c_1",
                unit="",
                low=-5.0,
                high=5.0,
                meaning="what the bend adds to it",
                grid=(-0.2, 0.2, 0.5),
            ),
            _free("d", "bits", "where the bend is", tuple(10.0 ** np.arange(4.0, 14.0))),
            Parameter(
                name="f",
                unit="",
                low=0.05,
                high=5.0,
                meaning="how wide the bend is",
                log=True,
                grid=(0.3, 1.0),
            ),
        ),
        inputs=(STORED_BITS,),
        directions=("rising", "falling"),
        evaluate=formulas.broken_power_law,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="Caballero et al. 2023 (arXiv 2210.14891), eq. 1",
        recommended_models=48,
        coverage=(0.930, 0.954),
    ),
    Form(
        name="interpolation",
        title="monotone interpolation between the points",
        formula="isotonic regression, then a monotone cubic (PCHIP) in log stored_bits; flat outside",
        parameters=(),
        inputs=(STORED_BITS,),
        directions=("rising", "falling"),
        evaluate=None,
        objective="squares",
        response="any",
        citation="Fritsch & Carlson 1980; Barlow et al. 1972 (pool adjacent violators)",
    ),
)

FORMS: Mapping[str, Form] = {row.name: row for row in ROWS}


def form(name: str) -> Form:
    """The form called `name`.

    Raises:
        LawError: there is none; the message names the nearest.
    """
    if name not in FORMS:
        raise LawError(f"there is no law {name!r}: {did_you_mean(name, FORMS)}")
    return FORMS[name]


def listing() -> list[dict[str, Any]]:
    """A row for each form, for `kbit ls laws`.

    >>> [row["name"] for row in listing()][:2]
    ['power-law', 'offset-by-bits']
    """
    return [
        {
            "name": f.name,
            "title": f.title,
            "formula": f.formula,
            "parameters": [p.name for p in f.parameters] + ([f"{f.offset.name}[k]"] if f.offset else []),
            "inputs": [i.role for i in f.inputs],
            "response": f.response,
            "objective": f.objective,
            "citation": f.citation,
        }
        for f in FORMS.values()
    ]
