"""From exported rows to what the page draws: one point for each model, format, method and text.

A store has one row for each metric; a point joins the metrics of one subject on one text. A metric that was
not measured stays None: it is never drawn and never zero.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kbit.errors import KbitError

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A model in a format, measured on a text.

    Attributes:
        key: model, format and method, joined; the same on every text.
        k: bits of one code of the body's format; 16 for bf16 and fp16.
        stored_bits: whole model, as on disk.
        gain: bits per byte over the headline baseline, with its 95% interval.
        kl_bits_per_byte: from the 16-bit model.
    """

    key: str
    model: str
    family: str | None
    format: str
    k: float
    method: str | None
    text: str
    stored_bits: int
    body_bits_per_weight: float | None
    parameters: int | None
    bits_per_byte: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    kl_bits_per_byte: float | None = None
    top1_agreement: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselinePoint:
    """A coder that is no language model, on a text."""

    name: str
    text: str
    bits_per_byte: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A measurement without a figure, and why."""

    model: str
    format: str | None
    text: str
    metric: str
    status: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """All that the rows say, sorted: models by size, formats by k."""

    points: tuple[Point, ...]
    baselines: tuple[BaselinePoint, ...]
    missing: tuple[Missing, ...]
    headline_baseline: str | None
    texts: tuple[str, ...] = field(default=())

    def of_text(self, text: str) -> tuple[Point, ...]:
        """The points measured on one text."""
        return tuple(p for p in self.points if p.text == text)


def read_points(rows: Iterable[Row]) -> Points:
    """Join the metrics of each subject.

    Args:
        rows: exported rows of a store (`docs/store.md`).

    Raises:
        KbitError: no row is a measured model: there is nothing to draw.
    """
    rows = list(rows)
    models = [row for row in rows if row.get("kind", "model") == "model"]
    measured = [row for row in models if row.get("metric") == "bits_per_byte" and row.get("status") == "ok"]
    if not measured:
        raise KbitError(
            f"nothing to report: none of the {len(rows)} rows holds bits per byte of a model. "
            "Run a study first (kbit study run STUDY.toml --store STORE), or look at what failed "
            "(kbit study status)."
        )
    joined = {
        (metric, _subject(row), _text(row)): value
        for row in models
        if (metric := row.get("metric")) in ("kl_bits_per_byte", "top1_agreement")
        and (value := _value(row)) is not None
    }
    # Measured twice, with another context say, it is two rows: the newest stands (rows are in order of age).
    found = {(_subject(row), _text(row)): point for row in measured if (point := _point(row, joined))}
    if not found:
        raise KbitError(
            "nothing to report: no measured model has its k (format_bits) and its stored_bits. Measure again."
        )
    points = sorted(found.values(), key=lambda p: (size_of(p), p.model, p.k, p.format, p.method or ""))
    baselines = {
        (str(row["model"]), _text(row)): BaselinePoint(
            name=str(row["model"]), text=_text(row), bits_per_byte=value
        )
        for row in rows
        if row.get("kind") == "coder"
        and row.get("metric") == "bits_per_byte"
        and (value := _value(row)) is not None
    }
    return Points(
        points=tuple(points),
        baselines=tuple(sorted(baselines.values(), key=lambda b: -b.bits_per_byte)),
        missing=tuple(_missing(row) for row in rows if row.get("status") != "ok"),
        headline_baseline=next((str(row["baseline"]) for row in measured if row.get("baseline")), None),
        texts=tuple(dict.fromkeys(_text(row) for row in measured)),
    )


def size_of(point: Point) -> float:
    """What orders models by size: parameters, or stored bits where they are not known."""
    return float(point.parameters if point.parameters is not None else point.stored_bits)


def models_by_size(points: Sequence[Point]) -> list[str]:
    """Names of models, the smallest first."""
    return list(dict.fromkeys(p.model for p in sorted(points, key=lambda p: (size_of(p), p.model))))


def k_label(k: float) -> str:
    """How k is written.

    >>> k_label(4.0), k_label(2.5)
    ('4', '2.5')
    """
    return f"{k:g}"


def _point(row: Row, joined: Mapping[tuple[Any, str, str], float]) -> Point | None:
    k, stored, value = _number(row.get("format_bits")), _number(row.get("stored_bits")), _value(row)
    if k is None or stored is None or value is None:
        return None
    subject, text = _subject(row), _text(row)
    return Point(
        key=subject,
        model=str(row["model"]),
        family=None if row.get("family") is None else str(row["family"]),
        format=str(row["format"]),
        k=k,
        method=None if row.get("method") is None else str(row["method"]),
        text=text,
        stored_bits=int(stored),
        body_bits_per_weight=_number(row.get("body_bits_per_weight")),
        parameters=None if (n := _number(row.get("parameters"))) is None else int(n),
        bits_per_byte=value,
        gain=_number(row.get("gain")),
        gain_low=_number(row.get("gain_low")),
        gain_high=_number(row.get("gain_high")),
        kl_bits_per_byte=joined.get(("kl_bits_per_byte", subject, text)),
        top1_agreement=joined.get(("top1_agreement", subject, text)),
    )


def _missing(row: Row) -> Missing:
    return Missing(
        model=str(row.get("model")),
        format=None if row.get("format") is None else str(row["format"]),
        text=_text(row),
        metric=str(row.get("metric")),
        status=str(row.get("status")),
        reason=str(row.get("reason") or "no reason was stored"),
    )


def _subject(row: Row) -> str:
    return " · ".join(str(row[part]) for part in ("model", "format", "method") if row.get(part) is not None)


def _text(row: Row) -> str:
    return str(row.get("text"))


def _value(row: Row) -> float | None:
    """The ratio of a row that is ok; None otherwise, and where nothing was counted."""
    numerator, denominator = _number(row.get("numerator")), _number(row.get("denominator"))
    if row.get("status") != "ok" or numerator is None or not denominator:
        return None
    return numerator / denominator


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
