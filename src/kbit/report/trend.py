"""What a fitted law says where the chart can show it: gain against stored bits.

A law in stored bits is one curve. A law in parameters with an offset for each k is drawn along the sizes that
each k was measured at: between two rungs, stored bits are interpolated in logarithms of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kbit.laws import Fit
from kbit.report.points import Point, k_label

STEPS = 48
HeldOutMark = tuple[str, float, float, float, float]  # model, stored bits, prediction, its 95% ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """One curve of a law, and its predictions of what it did not see."""

    label: str
    k: float | None
    stored_bits: tuple[float, ...]
    gain: tuple[float, ...]
    held_out: tuple[HeldOutMark, ...] = ()


def trends_of(fits: Mapping[str, Fit], points: Sequence[Point]) -> list[Trend]:
    """The curves of those fits of the gain that the main chart can show; interpolation is not drawn."""
    drawable = [f for f in fits.values() if f.response == "gain" and not f.form.is_interpolation]
    by_k = [trend for fit in drawable if fit.form.levels_input is not None for trend in _by_k(fit, points)]
    # One family of curves is enough: a single law is drawn only where there is none for each k.
    single = (f for f in drawable if [i.role for i in f.form.inputs] == ["stored_bits"])
    return by_k or [_in_stored_bits(fit) for fit in single]


def _in_stored_bits(fit: Fit) -> Trend:
    at = np.geomspace(*fit.input_ranges["stored_bits"], STEPS)
    value = fit.predict({"stored_bits": at}).value
    rows = fit.held_out.rows if fit.held_out else ()
    return Trend(
        label=fit.law,
        k=None,
        stored_bits=tuple(map(float, at)),
        gain=tuple(map(float, value)),
        held_out=tuple(
            (row.model, row.inputs["stored_bits"], row.predicted, *row.prediction95) for row in rows
        ),
    )


def _by_k(fit: Fit, points: Sequence[Point]) -> list[Trend]:
    curves = []
    for k in sorted({p.k for p in points if p.gain is not None}):
        members = sorted(
            (p.parameters, p.stored_bits, p.model) for p in points if p.k == k and p.parameters is not None
        )
        if len(members) < 2 or k_label(k) not in fit.levels:
            continue
        size, stored, _ = zip(*members, strict=True)
        at = np.geomspace(size[0], size[-1], STEPS)
        bits = np.exp(np.interp(np.log(at), np.log(size), np.log(stored)))
        value = fit.predict({"params": at, "bits": np.full(STEPS, k)}).value
        curves.append(
            Trend(
                label=f"{fit.law} {k_label(k)}",
                k=k,
                stored_bits=tuple(map(float, bits)),
                gain=tuple(map(float, value)),
                held_out=tuple(_marks(fit, k, {m: float(s) for _, s, m in members})),
            )
        )
    return curves


def _marks(fit: Fit, k: float, stored_bits: dict[str, float]) -> list[HeldOutMark]:
    if fit.held_out is None:
        return []
    return [
        (row.model, stored_bits[row.model], row.predicted, *row.prediction95)
        for row in fit.held_out.rows
        if row.inputs.get("bits") == k and row.model in stored_bits
    ]
