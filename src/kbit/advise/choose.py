"""Rows of a store as candidates: one for each model, format and method, with its gain and interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kbit.errors import LawError, did_you_mean

DONE = ("done", "ok", "finished", None)
Basis = Literal["measured", "predicted", "memory"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One (model, format, method), and what is known of its gain in bits per byte.

    Attributes:
        basis: `measured`; `predicted` by a law; or `memory`: nothing but its size is known.
        gain: None where only its size is known.
        ci95: of a measured gain, from the documents.
        prediction95: of a predicted gain, for a new measurement.
        extrapolation: how many times beyond the fitted sizes a prediction lies; 1 inside.
        row: as exported, or the same columns as far as they follow from a config.
    """

    model: str
    family: str | None
    format: str
    method: str | None
    bits: float | None
    gain: float | None
    ci95: tuple[float, float] | None
    row: Mapping[str, Any]
    basis: Basis = "measured"
    prediction95: tuple[float, float] | None = None
    extrapolation: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval that ties are told by: that of the measurement, or that of the prediction."""
        return self.ci95 or self.prediction95

    @property
    def name(self) -> str:
        """For messages: model and format, and the method where it is not the plain one."""
        method = "" if self.method in (None, "nearest", "none", "") else f" ({self.method})"
        return f"{self.model} {self.format}{method}"


def candidates(
    rows: Iterable[Mapping[str, Any]], *, text: str | None = None, baseline: str | None = None
) -> list[Candidate]:
    """The measured gains among exported rows.

    Rows that failed or hold no gain (other metrics, baselines themselves) are passed over.

    Args:
        rows: as `kbit study export` gives them.
        text: only gains on this text; needed where rows hold several.
        baseline: only gains over this one; needed where rows hold several.

    Raises:
        LawError: no gain, several texts or baselines to choose from, or two values for one choice.
    """
    found = [r for r in rows if _number(r.get("gain")) is not None and r.get("status") in DONE]
    if not found:
        raise LawError("no row holds a gain: run the study with a baseline first (kbit study run).")
    found = _one_of(found, "text", text)
    found = _one_of(found, "baseline", baseline)
    chosen: dict[tuple[str, str, str], Candidate] = {}
    for row in found:
        gain = float(row["gain"])
        low, high = _number(row.get("gain_low")), _number(row.get("gain_high"))
        method = row.get("method")
        candidate = Candidate(
            model=str(row["model"]),
            family=None if row.get("family") is None else str(row["family"]),
            format=str(row["format"]),
            method=None if method is None else str(method),
            bits=_number(row.get("format_bits")),
            gain=gain,
            ci95=None if low is None or high is None else (low, high),
            row=row,
        )
        key = (candidate.model, candidate.format, str(candidate.method))
        before = chosen.setdefault(key, candidate)
        if before.gain != candidate.gain:
            raise LawError(
                f"{candidate.name} has two gains, {before.gain} and {candidate.gain}: "
                "the store holds it under several settings. Select one study, or one setting, first."
            )
    return list(chosen.values())


def _one_of(rows: list[Mapping[str, Any]], column: str, wanted: str | None) -> list[Mapping[str, Any]]:
    names = sorted({str(r[column]) for r in rows if r.get(column) is not None})
    if wanted is not None:
        if wanted not in names:
            raise LawError(f"no gain on {column} {wanted!r}: {did_you_mean(wanted, names)}")
        return [r for r in rows if str(r.get(column)) == wanted]
    if len(names) > 1:
        raise LawError(
            f"gains on several {column}s must not be mixed ({', '.join(names)}): choose one with --{column}."
        )
    return rows


def _number(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number else None
