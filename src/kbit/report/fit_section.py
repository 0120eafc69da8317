"""The section on fitted laws: parameters with intervals, the held-out test, warnings."""

import math
from collections.abc import Mapping, Sequence

from kbit.laws import Fit, HeldOut
from kbit.report.html import Html, join, tag
from kbit.report.points import k_label
from kbit.report.sections import facts
from kbit.report.words import bits_in_words, count_in_words, figures, listed, number


def fit_section(fits: Mapping[str, Fit], notes: Sequence[str] = ()) -> Html:
    """All fits, the one with the smallest held-out miss first.

    Args:
        fits: the law and which rows it was fitted to, in words -> the fit.
        notes: why a law is not there.
    """
    ordered = sorted(fits.items(), key=lambda item: _miss(item[1]))
    return tag(
        "section",
        tag("h2", "The fitted law" if len(fits) == 1 else "The fitted laws"),
        [tag("p", note, class_="note") for note in notes],
        tag("p", "No law was fitted.", class_="note") if not fits and not notes else None,
        [_one(label, fit) for label, fit in ordered],
        id="law",
    )


def _miss(fit: Fit) -> float:
    """What orders fits: the untested come last."""
    return math.inf if fit.held_out is None else fit.held_out.mean_absolute_miss


def _one(label: str, fit: Fit) -> Html:
    d = fit.diagnostics
    return join(
        tag("h3", label),
        tag("p", f"{fit.form.title} ({fit.form.citation}): ", tag("code", fit.form.formula), class_="note"),
        _parameters(fit),
        _held_out(fit.held_out),
        _warnings(fit.warnings),
        facts(
            (
                ("fitted to", f"{fit.rows} rows of {fit.models} models"
                 + (f"; {fit.dropped} left out for missing values" if fit.dropped else "")),
                ("intervals", fit.interval),
                ("objective", f"{figures(fit.objective, 6)} ({fit.objective_name})"),
                ("residuals", f"standard deviation {figures(d.residual_scale, 3)}"
                 f"{' (of logarithms)' if fit.is_log else ''}, R² {number(d.r_squared)}"),
                ("search", f"{d.share_at_optimum:.0%} of {d.starts} starts reached the optimum"
                 + (f"; at their bounds: {', '.join(d.bounds_hit)}" if d.bounds_hit else "")),
            )
        ),
    )  # fmt: skip


def _warnings(warnings: Sequence[str]) -> Html | None:
    if not warnings:
        return None
    return tag("ul", [tag("li", w) for w in warnings], class_="warnings", aria_label="Warnings")


def _parameters(fit: Fit) -> Html | None:
    if not fit.parameters:
        return None
    head = [
        tag("th", c, scope="col", class_="text" if c in ("parameter", "unit") else None)
        for c in ("parameter", "value", "95% from", "to", "unit")
    ]
    body = [
        tag(
            "tr",
            tag("th", name, scope="row", class_="text"),
            tag("td", figures(value)),
            tag("td", figures(fit.ci95[name][0])),
            tag("td", figures(fit.ci95[name][1])),
            tag("td", fit.units.get(name, ""), class_="text"),
        )
        for name, value in fit.parameters.items()
    ]
    return _scroll(
        tag("table", tag("thead", tag("tr", head)), tag("tbody", body)), f"Parameters of {fit.law}"
    )


def _held_out(held: HeldOut | None) -> Html:
    if held is None:
        return tag("p", "Nothing was held out, so this law is untested.", class_="note")
    within = sum(row.within for row in held.rows)
    head = [
        tag("th", c, scope="col", class_="text" if c in ("model", "at") else None)
        for c in ("model", "at", "predicted", "95% of a new measurement", "measured", "miss", "relative")
    ]
    body = [
        tag(
            "tr",
            tag("th", row.model, scope="row", class_="text"),
            tag("td", ", ".join(_input(k, v) for k, v in row.inputs.items()), class_="text"),
            tag("td", number(row.predicted)),
            tag("td", f"{number(row.prediction95[0])} to {number(row.prediction95[1])}"),
            tag("td", number(row.measured)),
            tag("td", number(row.miss)),
            tag("td", f"{100 * row.relative_miss:+.2f}%".replace("-", "−")),
        )
        for row in held.rows
    ]
    return join(
        tag(
            "p",
            f"Fitted again without {listed(list(held.models))} ({figures(held.extrapolation, 2)} times the "
            f"largest size left) and asked to predict it: mean miss {number(held.mean_absolute_miss)} bits "
            f"per byte ({held.mean_absolute_relative_miss:.2%} of what was measured); "
            f"{within} of {len(held.rows)} measurements inside their 95% prediction interval.",
        ),
        _scroll(tag("table", tag("thead", tag("tr", head)), tag("tbody", body)), "Held-out test"),
    )


def _input(role: str, value: float) -> str:
    if role == "bits":
        return f"k = {k_label(value)}"
    if role == "stored_bits":
        return bits_in_words(value)
    if role == "params":
        return f"{count_in_words(value)} parameters"
    return f"{role} {figures(value)}"


def _scroll(table: Html, label: str) -> Html:
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)
