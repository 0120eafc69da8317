"""What a fit refuses, and what it warns of."""

import numpy as np

from kbit.errors import LawError
from kbit.laws.form import Form
from kbit.laws.result import Fit
from kbit.laws.table import Data

POOR_R_SQUARED = 0.9
POOR_CHI = 3.0
FEW_STARTS = 0.2
COVERS = (0.93, 0.97)


def check_data(form: Form, data: Data, *, allow_narrow: bool) -> list[str]:
    """Refuse data that cannot carry the form; return warnings.

    Raises:
        LawError: fewer rows than parameters + 1, an input or the response that does not vary, or a size
            that spans less than a decade.
    """
    notes = []
    parameters = sum(p.low < p.high for p in form.parameters) + max(0, len(data.levels) - 1)
    needed = 2 if form.is_interpolation else parameters + 1
    if data.rows < needed:
        raise LawError(
            f"law {form.name!r} has {parameters} parameters and needs at least {needed} rows, got "
            f"{data.rows}. "
            "Measure more models, or choose a law with fewer parameters."
        )
    for item in form.inputs:
        values = data.columns[item.role]
        if float(values.max()) <= float(values.min()):
            raise LawError(
                f"{item.role} ({item.unit}) has only one value, {values[0]:g}: law {form.name!r} cannot "
                "tell what "
                "it does. Add models that differ in it, or choose a law without it."
            )
        span = float(values.max() / values.min()) if item.size else float("inf")
        if span < 10.0:
            text = f"{item.role} ({item.unit}) spans a factor of {span:.3g}, less than a decade"
            if not allow_narrow:
                raise LawError(
                    f"{text}: an exponent fitted to it would mean little. "
                    "Measure smaller or larger models, or insist with --allow-narrow."
                )
            notes.append(f"{text}: exponents mean little.")
    if float(data.response.max()) <= float(data.response.min()):
        raise LawError(f"the response has only one value, {data.response[0]:g}: there is nothing to fit.")
    notes.extend(f"{fault}." for fault in data.mixed)
    if data.dropped:
        notes.append(f"{data.dropped} rows with missing values were left out.")
    return notes


def check_fit(result: Fit, data: Data) -> list[str]:
    """Warnings about a finished fit."""
    d = result.diagnostics
    notes = [f"{name} ended at a bound of its range: the data do not fix it." for name in d.bounds_hit]
    if d.share_at_optimum < FEW_STARTS:
        notes.append(
            f"only {d.share_at_optimum:.0%} of {d.starts} starts reached the best objective: "
            "it may not be the best there is; try more --starts."
        )
    for name, (low, high) in result.ci95.items():
        if not (np.isfinite(low) and np.isfinite(high)):
            notes.append(f"the interval of {name} has no end on one side: the data do not fix it.")
    if d.r_squared < POOR_R_SQUARED:
        notes.append(
            f"poor fit: the law explains {max(d.r_squared, 0.0):.0%} of the variance, residuals are "
            f"{d.residual_scale:.3g}."
        )
    if data.standard_error is not None and not result.form.is_interpolation:
        left = max(1, result.rows - len(result.parameters))
        chi = float(np.sqrt(result.objective / left))
        if chi > POOR_CHI and not result.objective_name.startswith("sum of Huber"):
            notes.append(
                f"poor fit: residuals are {chi:.1f} times the measured standard errors, so the form misses "
                "something; "
                "intervals are widened accordingly."
            )
    if not result.form.is_interpolation:
        notes.extend(_coverage(result.form))
    if not result.form.is_interpolation and result.models < result.form.recommended_models:
        notes.append(
            f"{result.models} models are fewer than the {result.form.recommended_models} recommended for "
            f"{result.law!r}: read the intervals as rough."
        )
    return notes


def _coverage(form: Form) -> list[str]:
    """What simulation says of the form's intervals, where they do not cover what they promise."""
    if form.coverage is None:
        return [f"how often 95% intervals of {form.name!r} hold the truth was not simulated."]
    low, high = form.coverage
    if COVERS[0] <= low and high <= COVERS[1]:
        return []
    tone = "read them as too narrow" if low < COVERS[0] else "some are wider than they need be"
    return [
        f"in simulation 95% intervals of {form.name!r} held the truth in {low:.1%} to {high:.1%} of draws at "
        f"{form.recommended_models} models: {tone}."
    ]
