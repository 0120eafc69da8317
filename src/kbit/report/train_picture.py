"""Cost against performance: the loss a law promises for each budget, with a mark at the one asked for."""

import math
from pathlib import Path
from typing import Any

import altair as alt

from kbit.advise.train import TrainAdvice, TrainChoice, count
from kbit.errors import UsageError
from kbit.report.atomic_file import write_file
from kbit.report.charts import Spec, spec_of, values_chart
from kbit.report.palette import THEMES, Mode, vega_config

WIDTH, HEIGHT = 520, 320


def save_train_picture(
    advice: TrainAdvice, *, out: Path | str, mode: Mode = "light", scale: float = 2.0
) -> Path:
    """Write the curve of optima, its 95% band where the law has draws, and a mark at the budget.

    Args:
        advice: from `kbit.advise.train`.
        out: a .png or an .svg.
        mode: "light" or "dark"; the ground is filled.
        scale: pixels for each unit of a PNG.

    Raises:
        UsageError: another suffix.
        KbitError: the file cannot be written.
    """
    import vl_convert

    path = Path(out)
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a picture is a .png or a .svg, not {path.name!r}. Change the suffix.")
    theme = THEMES[mode]
    config = vega_config(mode, ks=[16.0], sizes=1) | {"background": theme.ground, "padding": 20}
    spec = train_chart(advice)
    if path.suffix == ".svg":
        return write_file(path, vl_convert.vegalite_to_svg(spec, config=config).encode())
    return write_file(path, vl_convert.vegalite_to_png(spec, config=config, scale=scale))


def train_chart(advice: TrainAdvice) -> Spec:
    """The chart as a Vega-Lite specification."""
    curve = [_datum(c) for c in advice.curve]
    budgets = [c.flops for c in advice.curve]
    decades = range(math.floor(math.log10(budgets[0])), math.ceil(math.log10(budgets[-1])) + 1)
    axis = alt.Axis(values=[10.0**e for e in decades], format=".0e", labelOverlap=True)
    x = alt.X(
        "flops:Q",
        title="operations of training and inference",
        scale=alt.Scale(type="log", nice=False),
        axis=axis,
    )
    y = alt.Y("loss:Q", title=advice.response, scale=alt.Scale(zero=False))
    base = values_chart(curve)
    layers = [base.mark_line().encode(x=x, y=y)]
    if advice.best.loss_ci95 is not None:
        layers.insert(0, base.mark_area(opacity=0.2).encode(x=x, y=alt.Y("low:Q", title=""), y2="high:Q"))
    here = values_chart([_datum(advice.best)])
    layers.append(here.mark_point(size=90, filled=True).encode(x=x, y=y))
    layers.append(here.mark_text(dx=8, dy=-10, align="left").encode(x=x, y=y, text="words:N"))
    return spec_of(alt.layer(*layers, title=f"law {advice.law}"), width=WIDTH, height=HEIGHT)


def _datum(choice: TrainChoice) -> dict[str, Any]:
    low, high = choice.loss_ci95 or (None, None)
    k = "" if choice.bits is None else f", k = {choice.bits:g}"
    return {
        "flops": choice.flops,
        "loss": choice.loss,
        "low": low,
        "high": high,
        "words": f"{count(choice.params)} parameters, {count(choice.tokens)} tokens{k}",
    }
