"""A loss in parameters, tokens and bits that can be asked anywhere: a fitted law, or published constants."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kbit.errors import LawError, did_you_mean
from kbit.laws import FORMS, Fit
from kbit.laws.dual import Array
from kbit.laws.model import Model

INPUTS = ("params", "tokens", "bits")


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Constants of a law as a paper gives them; losses in nats a token."""

    law: str
    values: Mapping[str, float]
    source: str


PUBLISHED: Mapping[str, Published] = {
    "hoffmann-2022": Published(
        law="chinchilla",
        values={"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        source="Hoffmann et al. 2022 (arXiv 2203.15556), eq. 10, rounded as printed",
    ),
    "besiroglu-2024": Published(
        law="chinchilla",
        values={"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        source="Besiroglu et al. 2024 (arXiv 2404.10102): the data of Hoffmann et al. fitted again",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """Losses of a law.

    Attributes:
        name: of the law or of the constants; `source` where they are from.
        model: the formula; `theta` its parameters, [parameters], and `draws` those of the bootstrap,
            [draws, parameters], in search coordinates; None for published constants.
        ranges: of each input that was fitted; empty where that is not known.
        response: what it gives, in words.
    """

    name: str
    source: str
    model: Model
    theta: Array
    draws: Array | None
    ranges: Mapping[str, tuple[float, float]]
    response: str
    warnings: tuple[str, ...] = field(default=())

    @property
    def has_bits(self) -> bool:
        """Whether k is among its inputs."""
        return any(i.role == "bits" for i in self.model.form.inputs)

    def losses(self, theta: Array, params: Array, tokens: Array, bits: float) -> Array:
        """Losses [draws, points] for theta [draws, parameters] at points given by arrays [points]."""
        columns = {"params": params, "tokens": tokens, "bits": np.full_like(params, bits)}
        return self.model.values(theta, {i.role: columns[i.role] for i in self.model.form.inputs})


def surface_of_fit(fit: Fit) -> Surface:
    """The surface of a fitted law.

    Raises:
        LawError: it is no loss in parameters and tokens.
    """
    _check(fit.law, [i.role for i in fit.form.inputs])
    if fit.bound is None or fit.theta is None:
        raise LawError(f"law {fit.law!r} has no formula to optimise.")
    return Surface(
        name=fit.law,
        source=f"fitted to {fit.rows} rows of {fit.models} models (data {fit.data_hash[:12]})",
        model=fit.bound,
        theta=fit.theta,
        draws=fit.draws,
        ranges=fit.input_ranges,
        response=fit.response,
        warnings=fit.warnings,
    )


def published_surface(name: str) -> Surface:
    """The surface of published constants, by name.

    Raises:
        LawError: there are none of that name.
    """
    if name not in PUBLISHED:
        raise LawError(f"there are no published constants {name!r}: {did_you_mean(name, PUBLISHED)}")
    row = PUBLISHED[name]
    form = FORMS[row.law]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    theta = model.search(np.array([row.values[p.name] for p in form.parameters]))
    return Surface(
        name=f"{row.law} ({name})", source=row.source, model=model, theta=theta, draws=None, ranges={},
        response="loss in nats a token",
    )  # fmt: skip


def _check(law: str, roles: list[str]) -> None:
    missing = {"params", "tokens"} - set(roles)
    other = sorted(set(roles) - set(INPUTS))
    if missing or other:
        able = [
            n for n, f in FORMS.items() if {"params", "tokens"} <= {i.role for i in f.inputs} <= set(INPUTS)
        ]
        able = [n for n in able if "damage" not in n]
        what = f"has no {' and no '.join(sorted(missing))}" if missing else f"needs {', '.join(other)} too"
        raise LawError(
            f"advice to train needs a loss in params and tokens; law {law!r} {what}. "
            f"Fit one of {', '.join(able)}."
        )
    if "damage" in law:
        raise LawError(
            f"law {law!r} gives what quantising costs, not a loss; fit chinchilla or effective-parameters."
        )
