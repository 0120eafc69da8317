"""The table of forms: one frozen row each, from which listing, fitting, docs and tests are made."""

import math
from collections.abc import Mapping
from typing import Any

from kbit.errors import LawError, did_you_mean
from kbit.laws.dual import Array, Dual, power
from kbit.laws.form import Form, Input, Parameter

Values = Mapping[str, Dual]
Columns = Mapping[str, Array]
INFINITY = math.inf
EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.5)

PARAMS = Input(role="params", unit="parameters")
TOKENS = Input(role="tokens", unit="tokens")
STORED_BITS = Input(role="stored_bits", unit="bits stored")
BITS = Input(role="bits", unit="bits for each weight", size=False)


def _scale(name: str, unit: str, meaning: str) -> Parameter:
    return Parameter(name=name, unit=unit, low=1e-12, high=1e40, meaning=meaning, log=True, linear=True)


def _exponent(name: str, meaning: str, grid: tuple[float, ...] = EXPONENTS) -> Parameter:
    return Parameter(name=name, unit="", low=1e-3, high=5.0, meaning=meaning, log=True, grid=grid)


def _limit(unit: str = "response") -> Parameter:
    return Parameter(
        name="limit", unit=unit, low=-INFINITY, high=INFINITY, meaning="where the curve ends", linear=True
    )


def _power_law(p: Values, x: Columns, sign: float) -> Dual:
    return p["limit"] + sign * (p["A"] * power(x["stored_bits"], -p["alpha"]))


def _offset_by_bits(p: Values, x: Columns, sign: float) -> Dual:
    curve = p["limit"] + sign * (p["A"] * power(x["params"], -p["alpha"]))
    for name, value in p.items():
        if name.startswith("offset["):
            curve = curve + sign * (value * x[name])
    return curve


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
        evaluate=_power_law,
        objective="squares",
        response="gain in bits per byte, or any loss",
        citation="Hestness et al. 2017 (arXiv 1712.00409), eq. 1",
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
        evaluate=_offset_by_bits,
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
