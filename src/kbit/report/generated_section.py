"""What the page says of generated text: the plane of likelihood and variety, and figures across sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from kbit.laws import Fit
from kbit.report.charts import Spec, Width, log_axis, spec_of, values_chart
from kbit.report.generated_points import RESPONSES, GeneratedPoint, plainest
from kbit.report.html import Html, tag
from kbit.report.palette import SHAPES, step_of
from kbit.report.points import k_label
from kbit.report.sections import chart
from kbit.report.words import bits_in_words, listed, number

STEPS = 40


def plane_chart(
    points: Sequence[GeneratedPoint],
    *,
    ks: Sequence[float],
    width: Width = "container",
    height: int = 380,
) -> Spec:
    """Cross-entropy under the scorer against entropy of the decoding: a line a model and k, by temperature.

    Right is more various, down is likelier; the dashed rule is where human text lies.

    Args:
        points: at all decodings.
        ks: every k of the page: colours are given out in their order.
        width: in pixels, or "container" for as wide as its place.
        height: in pixels.
    """
    values = [
        {
            "line": f"{p.model} {p.format}",
            "model": p.model,
            "format": p.format,
            "k": k_label(p.k),
            "decoding": p.decoding,
            "temperature": p.temperature,
            "variety": p.figures["decoding_entropy"].value,
            "bits": p.figures["generated_cross_entropy"].value,
            "gap": p.figures["gap"].value,
            "seeds": p.seeds,
        }
        for p in points
    ]
    human = points[0].figures["human_cross_entropy"].value
    x = alt.X("variety:Q", title="entropy of the decoding, bits per byte (more various)",
              scale=alt.Scale(nice=True, padding=10))  # fmt: skip
    y = alt.Y("bits:Q", title="cross-entropy under the scorer, bits per byte (lower is likelier)",
              scale=alt.Scale(zero=False, nice=True))  # fmt: skip
    base = values_chart(values)
    rule = values_chart([{"y": human, "text": "human text"}])
    colour, shape = _encodings(points, ks)
    tooltip = [
        alt.Tooltip("model:N", title="model"),
        alt.Tooltip("format:N", title="format"),
        alt.Tooltip("decoding:N", title="decoding"),
        alt.Tooltip("variety:Q", title="entropy of the decoding", format=".4f"),
        alt.Tooltip("bits:Q", title="cross-entropy", format=".4f"),
        alt.Tooltip("gap:Q", title="gap to human text", format="+.4f"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    layers = [
        rule.mark_rule(style="soft-line", strokeDash=[2, 3]).encode(y="y:Q"),
        rule.mark_text(style="note", align="right", dy=-6).encode(
            y="y:Q", x=alt.value("width"), text="text:N"
        ),
        base.mark_line(strokeWidth=1.4, opacity=0.7).encode(
            x=x, y=y, color=colour, detail="line:N", order="temperature:Q"
        ),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=tooltip
        ),
    ]
    return spec_of(alt.layer(*layers), width=width, height=height)


def response_chart(
    points: Sequence[GeneratedPoint],
    metric: str,
    fits: Mapping[str, Fit],
    *,
    ks: Sequence[float],
    width: Width = "container",
    height: int = 300,
) -> Spec | None:
    """One figure against stored bits at one decoding, a curve for each k, with the fitted law dashed."""
    decoding = plainest(points)
    drawn = [p for p in points if p.decoding == decoding and metric in p.figures]
    if not drawn:
        return None
    values = [
        {
            "model": p.model,
            "format": p.format,
            "k": k_label(p.k),
            "stored": p.stored_bits,
            "value": (at := p.figures[metric]).value,
            "low": at.value if at.low is None else at.low,
            "high": at.value if at.high is None else at.high,
            "size": bits_in_words(p.stored_bits),
        }
        for p in drawn
    ]
    x = alt.X(
        "stored:Q",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=log_axis([p.stored_bits for p in drawn], title="bits stored, whole model (logarithmic)"),
    )
    y = alt.Y("value:Q", title="bits per byte", scale=alt.Scale(zero=False, nice=True))
    base = values_chart(values)
    colour, shape = _encodings(points, ks)
    lines = _law_lines(metric, fits)
    layers = [
        base.mark_line(strokeWidth=1.4, opacity=0.6).encode(x=x, y=y, color=colour, detail="format:N"),
        base.mark_rule(strokeWidth=1.1, opacity=0.7).encode(x=x, y="low:Q", y2="high:Q", color=colour),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            tooltip=[
                alt.Tooltip("model:N", title="model"),
                alt.Tooltip("format:N", title="format"),
                alt.Tooltip("size:N", title="stored"),
                alt.Tooltip("value:Q", title="bits per byte", format="+.4f"),
            ],
        ),
    ]
    if lines:
        layers.insert(
            0, values_chart(lines).mark_line(strokeDash=[5, 4], strokeWidth=1.1, clip=True).encode(
                x=x, y=y, color=colour
            )
        )  # fmt: skip
    return spec_of(alt.layer(*layers), width=width, height=height)


def _law_lines(metric: str, fits: Mapping[str, Fit]) -> list[dict[str, Any]]:
    import numpy as np

    found = []
    for label, law in fits.items():
        title, _, k = label.rpartition(", k = ")
        if title != RESPONSES[metric]:
            continue
        at = np.geomspace(*law.input_ranges["stored_bits"], STEPS)
        found += [
            {"k": k, "stored": float(a), "value": float(v)}
            for a, v in zip(at, law.predict({"stored_bits": at}).value, strict=True)
        ]
    return found


def _encodings(points: Sequence[GeneratedPoint], ks: Sequence[float]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of k, as everywhere on the page; the legend has only those that are here."""
    names = [k_label(k) for k in ks]
    here = [k_label(k) for k in sorted({p.k for p in points})]
    legend = alt.Legend(
        title="bits a weight (k)", symbolType="circle", columns=len(here), symbolStrokeWidth=2, values=here
    )
    return (
        alt.Color("k:N", scale=alt.Scale(domain=names), legend=legend),
        alt.Shape(
            "k:N", scale=alt.Scale(domain=names, range=[SHAPES[step_of(k)] for k in ks]), legend=legend
        ),
    )


def generated_section(
    points: Sequence[GeneratedPoint], fits: Mapping[str, Fit], notes: Sequence[str]
) -> Html:
    """Charts, what laws say of the largest model, and how to read it."""
    nearest = min(points, key=lambda p: abs(p.figures["gap"].value))
    decoding = plainest(points)
    models = list(dict.fromkeys(p.model for p in points))
    human = points[0].figures["human_cross_entropy"].value
    plane = (
        f"Cross-entropy against entropy of the decoding for {listed(models)} at "
        f"{len({p.decoding for p in points})} decodings. Human text takes {number(human)} bits per byte; "
        f"nearest to it is {nearest.model} {nearest.format} at {nearest.decoding}, "
        f"{number(nearest.figures['gap'].value)} away."
    )
    words = (
        "Each line is a model at k bits, from greedy decoding to the highest temperature. Far left and "
        "below the rule is text that is likely because it repeats itself; above it, text that strays. A line "
        "that runs lower at the same variety is the better model."
    )
    pairs = []
    for metric, title in RESPONSES.items():
        if any(metric in p.figures and p.decoding == decoding for p in points):
            figures = [p.figures[metric].value for p in points if metric in p.figures]
            label = f"{title} against bits stored, from {number(min(figures))} to {number(max(figures))}."
            pairs.append(
                tag("figure", tag("h3", title.capitalize()), chart(f"generated-{metric}", label=label))
            )
    held = [_held_out(label, law) for label, law in fits.items() if law.held_out]
    return tag(
        "section",
        tag("h2", "Generated text"),
        tag(
            "figure",
            chart("generated-plane", label=plane),
            tag("figcaption", words, class_="caption"),
        ),
        tag("div", pairs, class_="pair"),
        tag(
            "p",
            f"At {decoding}. The target of the gap is 0, that of entropy reduction is human text's own; "
            "neither is to be made large. Dashed: a power law in stored bits.",
            class_="caption",
        ),
        tag("ul", [tag("li", line) for line in (*held, *notes)], class_="note") if held or notes else None,
        id="generated",
    )


def _held_out(label: str, law: Fit) -> str:
    held = law.held_out
    if held is None:
        return label
    row = held.rows[0]
    return (
        f"Power law of the {label}: predicts {number(row.predicted)} for {row.model}, measured "
        f"{number(row.measured)} (95% of predictions: {number(row.prediction95[0])} to "
        f"{number(row.prediction95[1])})."
    )
