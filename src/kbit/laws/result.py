"""What a fit is: parameters with intervals, the held-out test, the search, warnings, predictions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import numpy as np

from kbit.laws.dual import Array
from kbit.laws.form import Form
from kbit.laws.interpolate import Knots
from kbit.laws.loss import Loss
from kbit.laws.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutRow:
    """One row the test fit never saw. `miss` is predicted - measured, `relative_miss` that over measured."""

    model: str
    inputs: Mapping[str, float]
    measured: float
    predicted: float
    prediction95: tuple[float, float]
    miss: float
    relative_miss: float
    within: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """The test: a second fit without the largest models, asked to predict them.

    Attributes:
        models: which were held out.
        rows: their rows.
        mean_absolute_miss: in the unit of the response.
        mean_absolute_relative_miss: relative to what was measured.
        extrapolation: largest held-out size over the largest that was fitted.
        parameters: of the test fit.
    """

    models: tuple[str, ...]
    rows: tuple[HeldOutRow, ...]
    mean_absolute_miss: float
    mean_absolute_relative_miss: float
    extrapolation: float
    parameters: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnostics:
    """How the search went.

    Attributes:
        starts: how many there were.
        share_at_optimum: of them, those that ended within 1e-6 (relative) of the best objective.
        gradient_norm: at the best, of the scaled objective in search coordinates.
        bounds_hit: parameters that ended at an end of their range.
        condition_number: of the curvature in the formula's own parameters.
        condition_number_projected: of the same with the linear parameters eliminated.
        residual_scale: standard deviation of residuals (of logarithms where the objective is).
        r_squared: share of the response's variance explained; never to be read alone.
        aicc: Akaike's criterion, corrected for few rows; lower is better, between fits of the same rows.
    """

    starts: int
    share_at_optimum: float
    gradient_norm: float
    bounds_hit: tuple[str, ...]
    condition_number: float
    condition_number_projected: float
    residual_scale: float
    r_squared: float
    aicc: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Responses at given inputs, arrays [rows]: `ci95` of the curve, `prediction95` of a new measurement.

    `extrapolation` is how far beyond the fitted data each row lies: the largest ratio of an input to the
    largest (or of the smallest to the input) that was fitted; 1 inside.
    """

    value: Array
    ci95: tuple[Array, Array]
    prediction95: tuple[Array, Array]
    extrapolation: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A law fitted to data. `kbit.laws.fit` makes it."""

    law: str
    form: Form
    direction: str
    parameters: Mapping[str, float]
    units: Mapping[str, str]
    ci95: Mapping[str, tuple[float, float]]
    interval: str
    objective: float
    objective_name: str
    held_out: HeldOut | None
    warnings: tuple[str, ...]
    diagnostics: Diagnostics
    rows: int
    models: int
    dropped: int
    response: str
    sources: Mapping[str, str]
    seed: int
    version: str
    data_hash: str
    is_log: bool
    input_ranges: Mapping[str, tuple[float, float]]
    levels: tuple[str, ...] = ()
    fixed: Mapping[str, float] = field(default_factory=dict)
    input_units: Mapping[str, str] = field(default_factory=dict)
    loss: Loss | None = field(default=None, repr=False)
    bound: Model | None = field(default=None, repr=False)
    theta: Array | None = field(default=None, repr=False)
    draws: Array | None = field(default=None, repr=False)
    knots: Knots | None = field(default=None, repr=False)
    knot_draws: tuple[Knots, ...] = field(default=(), repr=False)

    def predict(self, inputs: Mapping[str, Any], *, seed: int = 0) -> Prediction:
        """Responses at new inputs.

        Args:
            inputs: role -> values, one for each input of the form (`bits` as k for an offset form).
            seed: of the noise drawn for the prediction interval.
        """
        columns = input_columns(self.form, inputs, self.levels)
        if self.bound is None or self.theta is None or self.draws is None:
            if self.knots is None:
                raise TypeError("a fit holds either a formula or knots")
            size = columns[self.form.inputs[0].role]
            value = self.knots.values(size)
            curves = np.stack([k.values(size) for k in self.knot_draws]) if self.knot_draws else value[None]
        else:
            with np.errstate(all="ignore"):  # a draw may leave the formula's range; percentiles pass it over
                value = self.bound.values(self.theta[None], columns)[0]
                curves = self.bound.values(self.draws, columns)
        noise = np.random.default_rng(seed).normal(scale=self.diagnostics.residual_scale, size=curves.shape)
        noisy = curves * np.exp(noise) if self.is_log else curves + noise
        return Prediction(
            value=value,
            ci95=_percentiles(curves),
            prediction95=_percentiles(noisy),
            extrapolation=extrapolation(self.input_ranges, columns),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fit in JSON's own types; what `kbit fit --json` prints."""
        return {
            "law": self.law,
            "formula": self.form.formula,
            "direction": self.direction,
            "parameters": dict(self.parameters),
            "units": dict(self.units),
            "fixed": dict(self.fixed),
            "ci95": {name: list(ends) for name, ends in self.ci95.items()},
            "interval": self.interval,
            "objective": self.objective,
            "objective_name": self.objective_name,
            "held_out": None if self.held_out is None else asdict(self.held_out),
            "warnings": list(self.warnings),
            "diagnostics": asdict(self.diagnostics),
            "rows": self.rows,
            "models": self.models,
            "dropped": self.dropped,
            "response": self.response,
            "sources": dict(self.sources),
            "input_units": {
                item.role: self.input_units.get(item.role, item.unit) for item in self.form.inputs
            },
            "input_ranges": {role: list(ends) for role, ends in self.input_ranges.items()},
            "knots": None
            if self.knots is None
            else {"size": np.exp(self.knots.log_size).tolist(), "height": self.knots.height.tolist()},
            "citation": self.form.citation,
            "seed": self.seed,
            "version": self.version,
            "data_hash": self.data_hash,
        }

    def fit_report(self) -> str:
        """The fit in words, several lines."""
        d = self.diagnostics
        lines = [
            f"{self.law}: {self.form.formula}",
            f"  {self.rows} rows of {self.models} models"
            + (f" ({self.dropped} rows with missing values left out)" if self.dropped else ""),
        ]
        for name, value in self.parameters.items():
            if name in self.fixed:
                lines.append(f"  {name:<12} {value:<12.6g} fixed")
                continue
            low, high = self.ci95[name]
            unit = f"  [{self.units[name]}]" if self.units[name] else ""
            lines.append(f"  {name:<12} {value:<12.6g} 95% {low:.4g} to {high:.4g}{unit}")
        lines.append(f"  intervals: {self.interval}")
        lines.append(f"  objective {self.objective:.10g} ({self.objective_name})")
        lines.append(
            f"  residuals {d.residual_scale:.3g}{' (of logarithms)' if self.is_log else ''}, "
            f"R² {d.r_squared:.4f}, AICc {d.aicc:.1f}"
        )
        lines.append(
            f"  search: {d.share_at_optimum:.0%} of {d.starts} starts at the optimum, "
            f"gradient {d.gradient_norm:.1e}, condition {d.condition_number:.1e}"
            + (f", at their bounds: {', '.join(d.bounds_hit)}" if d.bounds_hit else "")
        )
        lines.extend(self._held_out_lines())
        lines.extend(f"  warning: {w}" for w in self.warnings)
        return "\n".join(lines)

    def _held_out_lines(self) -> list[str]:
        if self.held_out is None:
            return ["  held out: nothing"]
        h = self.held_out
        lines = [
            f"  held out: {', '.join(h.models)} ({h.extrapolation:.2g} times the largest fitted), "
            f"mean miss {h.mean_absolute_miss:.4g} ({h.mean_absolute_relative_miss:.2%})"
        ]
        for row in h.rows:
            where = ", ".join(f"{k}={v:.4g}" for k, v in row.inputs.items())
            low, high = row.prediction95
            lines.append(
                f"    {where}: predicted {row.predicted:.4f} ({low:.4f} to {high:.4f}), "
                f"measured {row.measured:.4f}, miss {row.miss:+.4f} ({row.relative_miss:+.2%})"
            )
        return lines

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{value:.6g}</td>"
            f"<td>{self.ci95[name][0]:.4g} to {self.ci95[name][1]:.4g}</td>"
            f"<td>{escape(self.units[name])}</td></tr>"
            for name, value in self.parameters.items()
        )
        notes = "".join(f"<li>{escape(w)}</li>" for w in self.warnings)
        return (
            f"<table><caption>{escape(self.law)}: {escape(self.form.formula)}</caption>"
            f"<tr><th>parameter</th><th>value</th><th>95%</th><th>unit</th></tr>{rows}</table><ul>{notes}</ul>"
        )


def input_columns(form: Form, inputs: Mapping[str, Any], levels: tuple[str, ...]) -> dict[str, Array]:
    """Inputs of a form as float columns, with 0/1 columns for levels.

    Raises:
        LawError: an input is missing, or a level was not in the fit.
    """
    from kbit.errors import LawError
    from kbit.laws.table import SYNONYMS, level_name

    given = {
        SYNONYMS.get(role, role): np.atleast_1d(np.asarray(v, dtype=np.float64)) for role, v in inputs.items()
    }
    missing = [i.role for i in form.inputs if i.role not in given]
    if missing:
        raise LawError(f"law {form.name!r} needs {', '.join(missing)} to predict.")
    rows = max(v.shape[0] for v in given.values())
    columns = {i.role: np.broadcast_to(given[i.role], (rows,)).astype(np.float64) for i in form.inputs}
    item = form.levels_input
    if item is not None and form.offset is not None:
        names = [level_name(v) for v in columns[item.role]]
        unknown = sorted(set(names) - set(levels))
        if unknown:
            raise LawError(
                f"{item.role} = {', '.join(unknown)} was not in the fit, which has {', '.join(levels)}."
            )
        for level in levels[1:]:
            columns[f"{form.offset.name}[{level}]"] = np.array([float(n == level) for n in names])
    return columns


def extrapolation(ranges: Mapping[str, tuple[float, float]], columns: Mapping[str, Array]) -> Array:
    """How many times beyond the fitted range each row lies; 1 inside."""
    rows = next(iter(columns.values())).shape[0]
    factor = np.ones(rows)
    for role, (low, high) in ranges.items():
        factor = np.maximum(factor, np.maximum(columns[role] / high, low / columns[role]))
    return factor


def _percentiles(draws: Array) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):
        low, high = np.nanpercentile(draws, [2.5, 97.5], axis=0)
    return np.asarray(low), np.asarray(high)
