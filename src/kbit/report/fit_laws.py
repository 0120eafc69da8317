"""Which laws a report fits to its rows, and what it says where one cannot be fitted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kbit.errors import LawError
from kbit.laws import Fit, fit
from kbit.report.headline import comparison
from kbit.report.points import Point, k_label, read_points


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedLaws:
    """Fits by law and by which rows they were fitted to, in words; and why others are not there."""

    fits: Mapping[str, Fit]
    notes: tuple[str, ...]


def fit_laws(rows: Iterable[Mapping[str, Any]], *, text: str | None = None, seed: int = 0) -> FittedLaws:
    """Fit the laws of the main figure, each with its largest model held out.

    One curve in parameters with an offset for each k, over all models. For the models at the largest k, and
    at the k that is best at equal stored bits: a power law in stored bits, and an interpolation beside it,
    to see whether the law beats reading between the points.

    Args:
        rows: exported rows of a store.
        text: which text, where rows hold several; by default the first.
        seed: of intervals.
    """
    found = read_points(rows)
    points = found.of_text(text if text is not None else found.texts[0])
    measured = [p for p in points if p.gain is not None]
    fits: dict[str, Fit] = {}
    notes: list[str] = []

    def attempt(law: str, label: str, members: list[Point]) -> None:
        if not members:
            notes.append(f"{law}, {label}, was not fitted: no model has a gain.")
            return
        try:
            fits[f"{law}, {label}"] = fit(law, [_row(p) for p in members], columns=COLUMNS, seed=seed)
        except LawError as error:
            notes.append(f"{law}, {label}, was not fitted: {error}")

    attempt("offset-by-bits", "all k", [p for p in measured if p.parameters is not None])
    for k in _ks(measured):
        members = [p for p in measured if k_label(p.k) == k]
        attempt("power-law", f"k = {k}", members)
        attempt("interpolation", f"k = {k}", members)
    return FittedLaws(fits=fits, notes=tuple(notes))


COLUMNS = {"gain": "gain"}


def _row(point: Point) -> dict[str, Any]:
    return {
        "model": point.model,
        "params": point.parameters,
        "stored_bits": point.stored_bits,
        "format_bits": point.k,
        "gain": point.gain,
    }


def _ks(points: list[Point]) -> list[str]:
    """The largest k, and the one with most wins at equal stored bits where that is another."""
    compared = comparison(points)
    if compared is None:
        return []
    largest = k_label(max(p.k for p in points))
    return list(dict.fromkeys([largest, *list(compared.total["wins"])[:1]]))
