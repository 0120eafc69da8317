"""Rows of a store as candidates: one for each model, format and method, with its gain and interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kbit.errors import LawError, did_you_mean

DONE = ("done", "ok", "finished", None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One (model, format, method) with its measured gain in bits per byte."""

    model: str
    family: str | None
    format: str
    method: str | None
    bits: float | None
    gain: float
    ci95: tuple[float, float] | None
    row: Mapping[str, Any]

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
        low, high = _number(row.get("gain_low")), _number(row.get("gain_high"))
        method = row.get("method")
        candidate = Candidate(
            model=str(row["model"]),
            family=None if row.get("family") is None else str(row["family"]),
            format=str(row["format"]),
            method=None if method is None else str(method),
            bits=_number(row.get("format_bits")),
            gain=float(row["gain"]),
            ci95=None if low is None or high is None else (low, high),
            row=row,
        )
        key = (candidate.model, candidate.format, str(candidate.method))
        before = chosen.setdefault(key, candidate)
        if before.gain != candidate.gain:
            raise LawError(
                f"{candidate.name} has two gains, {before.gain:.6g} and {candidate.gain:.6g}: "
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
