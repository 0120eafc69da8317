"""From exported rows to what the page draws of generated text: one point a model, format and decoding."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbit.errors import LawError
from kbit.laws import Fit, fit

NEEDED = ("generated_cross_entropy", "human_cross_entropy", "decoding_entropy", "gap")
RESPONSES = {
    "gap": "gap of generated text",
    "entropy_reduction_random": "entropy reduction against random text",
}
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A figure as the mean over seeds, with its 95% interval over documents."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedPoint:
    """What one model in one format generates at one decoding.

    Attributes:
        decoding: temperature and cut-offs, in words.
        figures: by metric.
        seeds: how many.
    """

    model: str
    format: str
    k: float
    stored_bits: int
    parameters: int | None
    text: str
    temperature: float
    decoding: str
    seeds: int
    figures: Mapping[str, Spread]


def generated_points(rows: Iterable[Row]) -> list[GeneratedPoint]:
    """Join metrics and seeds; a point without all that is drawn is left out."""
    metrics: dict[tuple[Any, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get("temperature") is None or row.get("status") != "ok" or row.get("format_bits") is None:
            continue
        key = (row["model"], row["format"], row.get("method"), row["text"], row["temperature"],
               row.get("top_k"), row.get("top_p"), row.get("scorer"))  # fmt: skip
        metrics[key][str(row["metric"])].append(row)
    found = []
    for (model, format_, _, text, temperature, top_k, top_p, _), by in metrics.items():
        if any(name not in by for name in NEEDED):
            continue
        first = by["gap"][0]
        found.append(
            GeneratedPoint(
                model=str(model),
                format=str(format_),
                k=float(first["format_bits"]),
                stored_bits=int(first["stored_bits"]),
                parameters=first.get("parameters"),
                text=str(text),
                temperature=float(temperature),
                decoding=decoding_in_words(float(temperature), top_k, top_p),
                seeds=len(by["gap"]),
                figures={name: _spread(of) for name, of in by.items()},
            )
        )
    return sorted(found, key=lambda p: (p.parameters or p.stored_bits, p.model, p.k, p.temperature))


def _spread(rows: Sequence[Row]) -> Spread:
    """Seeds share their prompts, so their mean is not surer of other prompts than one is."""
    value = math.fsum(float(r["value"]) for r in rows) / len(rows)
    errors = [r.get("value_standard_error") for r in rows]
    known = [float(e) for e in errors if e is not None]
    if len(known) < len(errors):
        return Spread(value=value, low=None, high=None)
    half = 1.96 * math.fsum(known) / len(known)
    return Spread(value=value, low=value - half, high=value + half)


def decoding_in_words(temperature: float, top_k: float | None, top_p: float | None) -> str:
    """A decoding as people say it.

    >>> decoding_in_words(0.7, 50, 1.0), decoding_in_words(0.0, None, None)
    ('temperature 0.7, top-k 50', 'greedy')
    """
    if temperature == 0:
        return "greedy"
    words = [f"temperature {temperature:g}"]
    words += [f"top-k {int(top_k)}"] if top_k else []
    words += [f"top-p {top_p:g}"] if top_p is not None and top_p < 1 else []
    return ", ".join(words)


def plainest(points: Sequence[GeneratedPoint]) -> str:
    """The decoding that laws are fitted to: the one nearest to temperature 1 without cut-offs."""
    decodings = {p.decoding: (abs(p.temperature - 1), len(p.decoding)) for p in points}
    return min(decodings, key=decodings.__getitem__)


def generated_laws(points: Sequence[GeneratedPoint]) -> tuple[dict[str, Fit], list[str]]:
    """A power law in stored bits for each response and each k, the largest model held out; or why not."""
    fits: dict[str, Fit] = {}
    notes: list[str] = []
    if not points:
        return fits, notes
    decoding = plainest(points)
    for metric, title in RESPONSES.items():
        for k in sorted({p.k for p in points}, reverse=True):
            rows = [
                {"model": p.model, "stored_bits": p.stored_bits, "value": p.figures[metric].value}
                for p in points
                if p.k == k and p.decoding == decoding and metric in p.figures
            ]
            label = f"{title}, k = {k:g}"
            try:
                fits[label] = fit("power-law", rows, columns={"value": "value"})
            except LawError as error:
                notes.append(f"A power law of the {label} was not fitted: {error}")
    return fits, notes
