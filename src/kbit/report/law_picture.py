"""Three charts of a fitted law: curve or prediction, residuals, and the models it hangs on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import altair as alt
import numpy as np

from kbit.errors import UsageError
from kbit.laws import Fit
from kbit.laws.influence import influence
from kbit.laws.table import Data, Table, read
from kbit.report.atomic_file import write_file
from kbit.report.charts import Spec
from kbit.report.palette import THEMES, Mode, vega_config

AltairChart = Any  # one of Altair's kinds, which its own signatures do not tell apart
WIDTH, HEIGHT = 380, 280
STEPS = 120
MOST_BARS = 12


def save_law_picture(
    fit: Fit,
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    out: Path | str,
    mode: Mode = "light",
    scale: float = 2.0,
) -> Path:
    """Write curve, residuals and influence beside each other.

    Args:
        fit: a law, fitted to `table`.
        table: its rows.
        columns: the roles it was fitted with.
        out: a .png or an .svg.
        mode: "light" or "dark"; the ground is filled.
        scale: pixels for each unit of a PNG.

    Raises:
        UsageError: another suffix.
        LawError: another table.
        KbitError: the file cannot be written.
    """
    import vl_convert

    path = Path(out)
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a picture is a .png or a .svg, not {path.name!r}. Change the suffix.")
    config = vega_config(mode, ks=sorted(map(float, fit.levels)) or [16.0], sizes=1) | {
        "background": THEMES[mode].ground,
        "padding": 20,
    }
    spec = law_charts(fit, table, columns=columns, mode=mode)
    if path.suffix == ".svg":
        return write_file(path, vl_convert.vegalite_to_svg(spec, config=config).encode())
    return write_file(path, vl_convert.vegalite_to_png(spec, config=config, scale=scale))


def law_charts(
    fit: Fit, table: Table, *, columns: Mapping[str, str] | None = None, mode: Mode = "light"
) -> Spec:
    """The charts as one Vega-Lite specification."""
    data = read(fit.form, table, columns, units=fit.input_units, allow_mixed=True)
    theme = THEMES[mode]
    charts: list[AltairChart] = [
        curve_chart(fit, data, theme.accent),
        residual_chart(fit, data, theme.accent),
    ]
    if fit.theta is not None:
        charts.append(influence_chart(fit, table, columns, theme.accent))
    titled = alt.hconcat(*charts).properties(title=f"{fit.law}: {fit.form.formula}")
    spec: Spec = titled.to_dict()
    return spec


def curve_chart(fit: Fit, data: Data, colour: str) -> AltairChart:
    """The curve through the points where there is one size; else measured against predicted."""
    first = fit.form.inputs[0]
    others = [i for i in fit.form.inputs[1:] if not i.levels]
    if others:
        return _agreement(fit, data, colour)
    size = data.columns[first.role]
    series = _series(fit, data)
    points = [
        {"x": x, "y": y, "series": s} for x, y, s in zip(_f(size), _f(data.response), series, strict=True)
    ]
    at = np.geomspace(size.min(), size.max(), STEPS)
    lines: list[dict[str, Any]] = []
    for level in fit.levels or ("",):
        inputs: dict[str, Any] = {first.role: at}
        if fit.form.levels_input is not None:
            inputs[fit.form.levels_input.role] = np.full(STEPS, float(level))
        found = fit.predict(inputs)
        lines += [
            {"x": x, "y": y, "low": low, "high": high, "series": level}
            for x, y, low, high in zip(_f(at), _f(found.value), *map(_f, found.ci95), strict=True)
        ]
    kind: Literal["log", "linear"] = "log" if first.size else "linear"
    x = alt.X(
        "x:Q",
        title=f"{first.role} ({first.unit})",
        axis=alt.Axis(format="~s", labelOverlap=True),
        scale=alt.Scale(type=kind, nice=False, zero=False),
    )
    y = alt.Y("y:Q", title=fit.response, scale=alt.Scale(zero=False))
    shade: Any = alt.Color(
        "series:N", title=None if not fit.levels else "k", sort=sorted(fit.levels, key=float)
    )
    if not fit.levels:
        shade = alt.value(colour)
    curve = alt.Chart({"values": lines})
    return alt.layer(
        curve.mark_area(opacity=0.2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=shade),
        curve.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=shade),
        alt.Chart({"values": points}).mark_point(filled=True, size=28).encode(x=x, y=y, color=shade),
    ).properties(width=WIDTH, height=HEIGHT, title="Curve and its 95% interval")


def residual_chart(fit: Fit, data: Data, colour: str) -> AltairChart:
    """Measured less predicted against the first input: a pattern here is what the form misses."""
    first = fit.form.inputs[0]
    left = data.response - predicted(fit, data)
    values = [{"x": x, "y": y} for x, y in zip(_f(data.columns[first.role]), _f(left), strict=True)]
    kind: Literal["log", "linear"] = "log" if first.size else "linear"
    x = alt.X(
        "x:Q",
        title=f"{first.role} ({first.unit})",
        axis=alt.Axis(format="~s", labelOverlap=True),
        scale=alt.Scale(type=kind, nice=False, zero=False),
    )
    return alt.layer(
        alt.Chart({"values": [{"y": 0}]}).mark_rule(opacity=0.5).encode(y="y:Q"),
        alt.Chart({"values": values})
        .mark_point(filled=True, size=28)
        .encode(x=x, y=alt.Y("y:Q", title="measured less predicted"), color=alt.value(colour)),
    ).properties(width=WIDTH, height=HEIGHT, title="Residuals")


def influence_chart(fit: Fit, table: Table, columns: Mapping[str, str] | None, colour: str) -> AltairChart:
    """How far the parameters move without each model, the most influential first."""
    found = influence(fit, table, columns=columns)[:MOST_BARS]
    values = [{"model": i.model, "moves": i.shift_in_spreads, "place": n} for n, i in enumerate(found)]
    return (
        alt.Chart({"values": values})
        .mark_bar()
        .encode(
            x=alt.X("moves:Q", title="largest move, in the spread of all"),
            y=alt.Y("model:N", title=None, sort=alt.SortField("place"), axis=alt.Axis(labelLimit=140)),
            color=alt.value(colour),
        )
        .properties(width=WIDTH // 2, height=HEIGHT, title="Without each model")
    )


def _agreement(fit: Fit, data: Data, colour: str) -> AltairChart:
    at = predicted(fit, data)
    values = [{"x": x, "y": y} for x, y in zip(_f(at), _f(data.response), strict=True)]
    ends = [float(min(at.min(), data.response.min())), float(max(at.max(), data.response.max()))]
    line = [{"x": e, "y": e} for e in ends]
    x = alt.X("x:Q", title=f"predicted {fit.response}", scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title=f"measured {fit.response}", scale=alt.Scale(zero=False))
    return alt.layer(
        alt.Chart({"values": line}).mark_line(strokeWidth=1, opacity=0.5).encode(x=x, y=y),
        alt.Chart({"values": values})
        .mark_point(filled=True, size=28)
        .encode(x=x, y=y, color=alt.value(colour)),
    ).properties(width=WIDTH, height=HEIGHT, title="Measured against predicted")


def predicted(fit: Fit, data: Data) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the fit says for its own rows."""
    return fit.predict({i.role: data.columns[i.role] for i in fit.form.inputs}).value


def _series(fit: Fit, data: Data) -> Sequence[str]:
    item = fit.form.levels_input
    if item is None:
        return [""] * data.rows
    from kbit.laws.table import level_name

    return [level_name(v) for v in data.columns[item.role]]


def _f(values: Any) -> list[float]:
    return [float(v) for v in values]
