"""Frontiers of `quality_per_bit.py`: who has the least divergence at each rate, and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LEAST, MIDDLE, MOST = 2.2, 4.75, 8.6
WANTED = {"low": 0.8, "high": 1.0}
Row = Mapping[str, Any]


def frontier(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other beats at its rate or less, by rate."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda r: (float(r["body_bits_per_weight"]), float(r["kl_bits_per_token"]))):
        if not kept or float(row["kl_bits_per_token"]) < float(kept[-1]["kl_bits_per_token"]):
            kept.append(row)
    return kept


def ratio(mine: Row, theirs: Row) -> tuple[float, float, float]:
    """KL over KL, with a 95% interval that draws documents for both at once."""
    a, b = (np.array([float(v) for v in r["documents_kl_bits"].split()]) for r in (mine, theirs))
    drawn = np.random.default_rng(0).integers(0, len(a), size=(2000, len(a)))
    ratios = a[drawn].sum(axis=1) / b[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(a.sum() / b.sum()), float(low), float(high)


def compared(rows: Sequence[Row], data: str) -> list[dict[str, Any]]:
    """At each rate where the peers' frontier steps down, and where the range begins: kbit's over theirs.

    Between two steps kbit's frontier only falls, so these are the worst places of the whole range.
    """
    ok = [r for r in rows if r["status"] == "ok" and r["peer"] != "reference"]
    # What needs no text may be used where there is text.
    allowed = ("free",) if data == "free" else ("free", "calibrated")
    mine = frontier([r for r in ok if r["peer"] == "kbit" and r["data"] in allowed])
    theirs = frontier([r for r in ok if r["peer"] != "kbit" and r["data"] in allowed])
    found = []
    places = {LEAST, *(float(r["body_bits_per_weight"]) for r in theirs)}
    for rate in sorted(p for p in places if LEAST <= p <= MOST):
        best = [r for r in theirs if float(r["body_bits_per_weight"]) <= rate]
        own = [r for r in mine if float(r["body_bits_per_weight"]) <= rate]
        if not best:
            continue
        row: dict[str, Any] = {
            "rate": rate,
            "peer": f"{best[-1]['peer']} {best[-1]['name']}",
            "peer_kl": best[-1]["kl_bits_per_token"],
        }
        if own:
            value, low, high = ratio(own[-1], best[-1])
            row |= {
                "kbit": own[-1]["name"],
                "kbit_bits": own[-1]["body_bits_per_weight"],
                "ratio": value,
                "low": low,
                "high": high,
            }
        found.append(row)
    return found


def told(rows: Sequence[Row]) -> str:
    """The comparison as a table, with what is wanted and whether it is reached."""
    lines = []
    for data in ("free", "calibrated"):
        lines.append(f"\n{data}: KL of kbit's frontier over the best peer's, at the peer's rate")
        for row in compared(rows, data):
            wanted = WANTED["low" if row["rate"] <= MIDDLE else "high"]
            if "ratio" not in row:
                lines.append(f"{row['rate']:6.3f}  {row['peer']:34} kbit has nothing as small")
                continue
            met = "reached" if row["ratio"] <= wanted else "NOT reached"
            lines.append(
                f"{row['rate']:6.3f}  {row['peer']:34} {row['kbit']:>16} ({float(row['kbit_bits']):.3f})  "
                f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]  wanted {wanted}: {met}"
            )
    return "\n".join(lines)


def draw(rows: Sequence[Row], out: Path) -> None:
    """KL against bits of the body, one panel without text and one with."""
    import altair as alt
    import vl_convert

    values = [
        {
            "peer": r["peer"],
            "name": r["name"],
            "data": {"free": "no text read", "calibrated": "calibrated"}[r["data"]],
            "bits": float(r["body_bits_per_weight"]),
            "kl": float(r["kl_bits_per_token"]),
            "low": float(r["kl_low"]),
            "high": float(r["kl_high"]),
        }
        for r in rows
        if r["status"] == "ok" and r["peer"] != "reference" and float(r["body_bits_per_weight"]) < 9
    ]
    x = alt.X("bits:Q", title="stored bits a weight of the body", scale=alt.Scale(domain=[2, 9]))
    scale = alt.Scale(type="log")
    base = alt.Chart().encode(x=x, color=alt.Color("peer:N", title=None, sort=["kbit"]))
    points = base.mark_point(filled=True, size=34).encode(
        y=alt.Y("kl:Q", title="KL to the 16-bit model, bits a token", scale=scale),
        shape=alt.Shape("peer:N", title=None, sort=["kbit"]),
    )
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    chart = (
        alt.layer(bars, points, data=alt.Data(values=values))
        .properties(width=420, height=380)
        .facet(column=alt.Column("data:N", title=None, sort=["no text read", "calibrated"]))
    )
    made = chart.to_dict()
    if out.suffix == ".png":
        out.write_bytes(vl_convert.vegalite_to_png(made, scale=1.5))
    else:
        out.write_text(vl_convert.vegalite_to_svg(made))
