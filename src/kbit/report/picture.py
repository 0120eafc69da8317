"""A chart as PNG or SVG, through vl-convert: no browser, no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbit.errors import UsageError
from kbit.laws import Fit
from kbit.report.atomic_file import write_file
from kbit.report.charts import Spec, gain_chart
from kbit.report.headline import comparison
from kbit.report.html import Html
from kbit.report.palette import THEMES, Mode, vega_config
from kbit.report.points import Point, models_by_size, read_points
from kbit.report.trend import trends_of

WIDTH, HEIGHT = 880, 480


def save_picture(
    rows: Sequence[Any],
    fits: Mapping[str, Fit],
    *,
    out: Path | str,
    mode: Mode = "light",
    text: str | None = None,
    scale: float = 2.0,
) -> Path:
    """Write the main picture: gain against stored bits.

    Args:
        rows: exported rows of a store.
        fits: laws to draw.
        out: where to; the suffix says what: .png or .svg.
        mode: "light" or "dark"; the ground is filled, so that it can stand on any page.
        text: which text, where rows hold several; by default the first.
        scale: pixels for each unit of a PNG.

    Raises:
        UsageError: another suffix.
        KbitError: nothing was measured, or the file cannot be written.
    """
    import vl_convert

    path = Path(out)
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a picture is a .png or a .svg, not {path.name!r}. Change the suffix.")
    found = read_points(rows)
    points = found.of_text(text or found.texts[0])
    spec = main_chart(points, fits, baseline=found.headline_baseline, width=WIDTH, height=HEIGHT)
    config = config_of(points, mode) | {"background": THEMES[mode].ground, "padding": 20}
    if path.suffix == ".svg":
        return write_file(path, vl_convert.vegalite_to_svg(spec, config=config).encode())
    return write_file(path, vl_convert.vegalite_to_png(spec, config=config, scale=scale))


def static_svg(spec: Spec, config: dict[str, Any]) -> Html:
    """A chart as an SVG element, for a reader without JavaScript."""
    import vl_convert

    # A reader without scripts may read by night: the picture brings its own ground.
    config = config | {"background": THEMES["light"].ground}
    return Html(vl_convert.vegalite_to_svg(spec | {"width": WIDTH}, config=config))


def main_chart(
    points: Sequence[Point], fits: Mapping[str, Fit], *, baseline: str | None, **size: Any
) -> Spec:
    """The main chart, with the frontier and the laws it can show."""
    return gain_chart(
        points, trends=trends_of(fits, points), frontier=frontier_keys(points), baseline=baseline, **size
    )


def frontier_keys(points: Sequence[Point]) -> list[str]:
    """Keys of the points that nothing smaller equals in gain, by size."""
    compared = comparison(points)
    return [p.model for p in compared.pareto] if compared else []


def config_of(points: Sequence[Point], mode: Mode) -> dict[str, Any]:
    """Vega-Lite's config for charts of these points."""
    return vega_config(mode, ks=sorted({p.k for p in points}), sizes=len(models_by_size(points)))
