"""The charts, as Vega-Lite specifications made with Altair; their colours are in `palette.vega_config`."""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from kbit.report.palette import SHAPES, step_of
from kbit.report.points import BaselinePoint, Point, k_label, models_by_size
from kbit.report.trend import Trend
from kbit.report.words import bits_in_words

Width = int | Literal["container"]
Spec = dict[str, Any]
CHOSEN = "chosen"  # the parameter that holds the key of the advised point


def gain_chart(
    points: Sequence[Point],
    *,
    trends: Sequence[Trend] = (),
    frontier: Sequence[str] = (),
    baseline: str | None,
    width: Width = "container",
    height: int = 440,
) -> Spec:
    """Gain against stored bits: a curve for each k, error bars, the frontier and the fitted law.

    Args:
        points: of one text; those without a gain are left out.
        trends: what the law says, drawn dashed; a prediction of held-out points is drawn as an open mark.
        frontier: keys of the points on the Pareto frontier, by size.
        baseline: what gains are over.
        width: in pixels, or "container" for as wide as its place.
        height: in pixels.
    """
    drawn = [p for p in points if p.gain is not None]
    values: list[dict[str, Any]] = [
        {
            "key": p.key,
            "model": p.model,
            "format": p.format,
            "k": k_label(p.k),
            "stored": p.stored_bits,
            "gain": p.gain,
            "low": p.gain if p.gain_low is None else p.gain_low,
            "high": p.gain if p.gain_high is None else p.gain_high,
            "bpb": p.bits_per_byte,
            "interval": _interval(p),
            "size": bits_in_words(p.stored_bits),
        }
        for p in drawn
    ]
    ks = _ks(drawn)
    lines = [
        {"k": k_label(t.k), "stored": x, "gain": y}
        for t in trends
        if t.k is not None
        for x, y in zip(t.stored_bits, t.gain, strict=True)
    ]
    predicted = [
        {"k": k_label(t.k), "stored": x, "gain": y, "model": model, "low": low, "high": high}
        for t in trends
        if t.k is not None
        for model, x, y, low, high in t.held_out
    ]
    single = [
        {"law": t.label, "stored": x, "gain": y}
        for t in trends
        if t.k is None
        for x, y in zip(t.stored_bits, t.gain, strict=True)
    ]
    by_key = {v["key"]: v for v in values}
    best = [{"order": i} | by_key[key] for i, key in enumerate(frontier) if key in by_key]

    x = alt.X(
        "stored:Q",
        scale=alt.Scale(type="log", nice=False, padding=26),
        axis=log_axis([v["stored"] for v in values], title="bits stored, whole model (logarithmic)"),
    )
    over = f" over {baseline}" if baseline else ""
    y = alt.Y(
        "gain:Q",
        title=f"gain, bits per byte{over}",
        scale=alt.Scale(zero=False, nice=True),
        axis=alt.Axis(tickCount=6, format=".2~f"),
    )
    colour = alt.Color(
        "k:N",
        scale=alt.Scale(domain=ks),
        legend=alt.Legend(
            title="bits a weight (k)", symbolType="circle", columns=len(ks), symbolStrokeWidth=2
        ),
    )
    shape = alt.Shape("k:N", scale=alt.Scale(domain=ks, range=_shapes(drawn)))
    tooltip = [
        alt.Tooltip("model:N", title="model"),
        alt.Tooltip("format:N", title="format"),
        alt.Tooltip("size:N", title="stored"),
        alt.Tooltip("gain:Q", title="gain, bits per byte", format=".4f"),
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("bpb:Q", title="bits per byte", format=".4f"),
    ]
    base = values_chart(values)
    layers: list[Any] = []
    if values and min(v["low"] for v in values) < 0 < max(v["high"] for v in values):
        zero = values_chart([{"y": 0, "text": f"{baseline or 'baseline'}: no gain"}])
        layers.append(zero.mark_rule(style="soft-line", strokeDash=[2, 3]).encode(y="y:Q"))
        layers.append(
            zero.mark_text(style="note", align="right", dy=-6).encode(
                y="y:Q", x=alt.value("width"), text="text:N"
            )
        )
    if best:
        layers.append(
            values_chart(best)
            .mark_line(style="frontier", strokeWidth=16, strokeCap="round", strokeJoin="round")
            .encode(x=x, y=y, order="order:O")
        )
    if lines:
        layers.append(
            values_chart(lines)
            .mark_line(strokeDash=[5, 4], strokeWidth=1.2, opacity=0.9, clip=True)
            .encode(x=x, y=y, color=colour)
        )
    if single:
        layers.append(
            values_chart(single)
            .mark_line(style="soft-line", strokeDash=[1, 3], strokeWidth=1.6, strokeCap="round")
            .encode(x=x, y=y, detail="law:N")
        )
    line = base.mark_line(strokeWidth=1.6, opacity=0.55 if lines else 1).encode(
        x=x, y=y, color=colour, detail="format:N"
    )
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.7).encode(
        x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
    )
    dots = base.mark_point(filled=True, size=62, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tooltip
    )
    layers += [line, bars, dots]
    if predicted:
        open_marks = values_chart(predicted)
        layers.append(
            open_marks.mark_point(filled=False, size=150, strokeWidth=1.4, shape="circle").encode(
                x=x,
                y=y,
                color=colour,
                tooltip=[
                    alt.Tooltip("model:N", title="held out"),
                    alt.Tooltip("k:N", title="k"),
                    alt.Tooltip("gain:Q", title="law's prediction", format=".4f"),
                    alt.Tooltip("low:Q", title="95% from", format=".4f"),
                    alt.Tooltip("high:Q", title="to", format=".4f"),
                ],
            )
        )
    chosen = alt.param(name=CHOSEN, value="")
    layers.append(
        base.mark_point(style="halo", filled=False, size=420, strokeWidth=2, shape="circle")
        .encode(x=x, y=y, opacity=alt.condition(f"datum.key === {CHOSEN}", alt.value(1), alt.value(0)))
        .add_params(chosen)
    )
    return spec_of(alt.layer(*layers), width=width, height=height)


def bits_per_byte_chart(
    points: Sequence[Point],
    baselines: Sequence[BaselinePoint],
    *,
    width: Width = "container",
    height: int = 300,
) -> Spec:
    """Bits per byte against k, a line for each model; the nearest baselines as rules."""
    values: list[dict[str, Any]] = [
        {
            "model": p.model,
            "format": p.format,
            "k": p.k,
            "value": p.bits_per_byte,
            "size": bits_in_words(p.stored_bits),
        }
        for p in points
    ]
    worst = max(v["value"] for v in values)
    rules: list[dict[str, Any]] = [
        {"y": b.bits_per_byte, "text": b.name}
        for b in baselines
        if b.bits_per_byte <= worst * 1.05
    ]  # fmt: skip
    layers = []
    if rules:
        base = values_chart(rules)
        layers.append(base.mark_rule(style="soft-line", strokeDash=[2, 3]).encode(y="y:Q"))
        layers.append(
            base.mark_text(style="note", align="right", dy=-6).encode(
                y="y:Q", x=alt.value("width"), text="text:N"
            )
        )
    layers += _by_k(values, points, title="bits per byte", kind="linear", number=".4f")
    return spec_of(alt.layer(*layers), width=width, height=height)


def divergence_chart(
    points: Sequence[Point], *, width: Width = "container", height: int = 300
) -> Spec | None:
    """KL divergence from the 16-bit model against k, a line for each model; None if it was not measured."""
    values: list[dict[str, Any]] = [
        {
            "model": p.model,
            "format": p.format,
            "k": p.k,
            "value": p.kl_bits_per_byte,
            "size": bits_in_words(p.stored_bits),
        }
        for p in points
        if p.kl_bits_per_byte is not None and p.kl_bits_per_byte > 0
    ]
    if not values:
        return None
    layers = _by_k(values, points, title="bits per byte (logarithmic)", kind="log", number=".3~g")
    return spec_of(alt.layer(*layers), width=width, height=height)


def _by_k(
    values: list[dict[str, Any]],
    points: Sequence[Point],
    *,
    title: str,
    kind: Literal["linear", "log"],
    number: str,
) -> list[Any]:
    ks = sorted({v["k"] for v in values})
    order = models_by_size(points)
    x = alt.X(
        "k:Q",
        scale=alt.Scale(type="log", base=2, nice=False, padding=14),
        axis=alt.Axis(values=ks, title="bits a weight (k)", format="~g", labelOverlap=False),
    )
    tens = [10.0**e for e in range(-12, 6)]
    lowest, highest = min(v["value"] for v in values), max(v["value"] for v in values)
    y = alt.Y(
        "value:Q",
        title=title,
        scale=alt.Scale(type="log", nice=True) if kind == "log" else alt.Scale(zero=False, nice=True),
        axis=alt.Axis(values=[t for t in tens if lowest / 10 < t < highest * 10], format="~g")
        if kind == "log"
        else alt.Axis(tickCount=5, format="~g"),
    )
    colour = alt.Color(
        "model:O",
        sort=order,
        scale=alt.Scale(domain=order),
        legend=alt.Legend(title=None, columns=4, symbolType="stroke", symbolStrokeWidth=3, labelLimit=120),
    )
    base = values_chart(values)
    tooltip = [
        alt.Tooltip("model:N", title="model"),
        alt.Tooltip("format:N", title="format"),
        alt.Tooltip("size:N", title="stored"),
        alt.Tooltip("value:Q", title="bits per byte", format=number),
    ]
    return [
        base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip),
    ]


def values_chart(values: list[dict[str, Any]]) -> Any:
    """A chart of these values, without a mark yet."""
    return alt.Chart({"values": values})


def spec_of(chart: Any, *, width: Width, height: int) -> Spec:
    """The finished specification, of a size."""
    sized = chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    spec: Spec = sized.to_dict()
    # Altair's own theme must not speak into ours, nor its datasets carry names made from content.
    spec.pop("config", None)
    return spec


def log_axis(sizes: Sequence[float], *, title: str) -> alt.Axis:
    """An axis of bits, logarithmic."""
    return alt.Axis(title=title, values=ticks(min(sizes), max(sizes)), labelExpr=_BITS, labelOverlap=True)


# 2e6 as "2 Mbit": decimal prefixes, as bits are counted
_BITS = (
    "datum.value >= 1e12 ? format(datum.value / 1e12, '~g') + ' Tbit' : "
    "datum.value >= 1e9 ? format(datum.value / 1e9, '~g') + ' Gbit' : "
    "datum.value >= 1e6 ? format(datum.value / 1e6, '~g') + ' Mbit' : "
    "datum.value >= 1e3 ? format(datum.value / 1e3, '~g') + ' kbit' : format(datum.value, '~g') + ' bit'"
)


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two sizes.

    >>> ticks(1.5e6, 3e7)
    [2000000.0, 5000000.0, 10000000.0, 20000000.0]
    """
    every = [m * 10.0**e for e in range(18) for m in (1, 2, 5)]
    inside = [v for v in every if low * 0.92 <= v <= high * 1.08]
    if len(inside) > 9:
        inside = [v for v in inside if f"{v:e}"[0] == "1"]
    return inside or [low, high]


def _ks(points: Sequence[Point]) -> list[str]:
    return [k_label(k) for k in sorted({p.k for p in points})]


def _shapes(points: Sequence[Point]) -> list[str]:
    return [SHAPES[step_of(k)] for k in sorted({p.k for p in points})]


def _interval(point: Point) -> str:
    if point.gain_low is None or point.gain_high is None:
        return "not measured"
    return f"{point.gain_low:.4f} to {point.gain_high:.4f}"
