"""A map of texts in a model's space: one page that needs no network, or a picture."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

import kbit
from kbit.errors import UsageError
from kbit.information.latent_space import Plane
from kbit.report.atomic_file import write_file
from kbit.report.charts import Spec, spec_of, values_chart
from kbit.report.html import Html, script_json, tag
from kbit.report.palette import THEMES, Mode, vega_config

SIZE, MARGIN = 1000, 24
MOST_CHARACTERS = 400
NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
# Twelve colours that differ for the colour-blind as far as twelve can; the hover says the name.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb5500", "#009988",
           "#8855cc", "#999933", "#882255", "#777777")  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentMap:
    """What is drawn.

    Attributes:
        title: of the page.
        summary: a sentence or two on what it shows, figures among them.
        names: of the texts.
        texts: their content; long ones are cut.
        planes: one or more, the first is shown first.
        colourings: by name (`label`, `cluster`), the group of each text.
        neighbours: indices of the nearest texts of each, in the whole space.
        prior: texts drawn from the prior.
        path: texts decoded on the straight line from one to another.
        ends: the two texts themselves.
    """

    title: str
    summary: str
    names: Sequence[str]
    texts: Sequence[str]
    planes: Sequence[Plane]
    colourings: Mapping[str, Sequence[str]]
    neighbours: Sequence[Sequence[int]]
    prior: Sequence[str] = field(default_factory=tuple)
    path: Sequence[str] = field(default_factory=tuple)
    ends: Sequence[str] = field(default_factory=tuple)


def write_map(drawn: LatentMap, out: Path | str, *, mode: Mode = "light") -> Path:
    """Write the page (.html) or a picture of the first plane and colouring (.png, .svg).

    Raises:
        UsageError: another suffix.
        KbitError: the file cannot be written.
    """
    path = Path(out)
    if path.suffix == ".html":
        return write_file(path, f"<!doctype html>\n{_page(drawn)}\n".encode())
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a map is a .html page, a .png or a .svg, not {path.name!r}. Change the suffix.")
    config = vega_config(mode, ks=[16], sizes=1)
    config |= {"background": THEMES[mode].ground, "padding": 20}
    spec = map_chart(drawn)
    if path.suffix == ".svg":
        return write_file(path, vl_convert.vegalite_to_svg(spec, config=config).encode())
    return write_file(path, vl_convert.vegalite_to_png(spec, config=config, scale=2.0))


def map_chart(drawn: LatentMap, *, width: int = 720, height: int = 620) -> Spec:
    """The first plane, coloured by the first colouring."""
    plane = drawn.planes[0]
    title, groups = next(iter(drawn.colourings.items()))
    values = [
        {"x": float(x), "y": float(y), "group": group}
        for (x, y), group in zip(plane.points, groups, strict=True)
    ]
    names = _groups(groups)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    axes = _axes(plane)
    chart = values_chart(values).mark_circle(size=34, opacity=0.75).encode(
        x=alt.X("x:Q", title=axes[0], scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", title=axes[1], scale=alt.Scale(zero=False)),
        color=alt.Color("group:N", title=title, scale=alt.Scale(domain=names, range=colours)),
    )  # fmt: skip
    return spec_of(chart, width=width, height=height)


def _axes(plane: Plane) -> tuple[str, str]:
    name = NAMES[plane.method]
    if plane.explained is None:
        return f"{name} 1", f"{name} 2"
    first, second = (f"{name} {i} ({share:.0%} of variance)" for i, share in enumerate(plane.explained, 1))
    return first, second


def _groups(groups: Sequence[str]) -> list[str]:
    counts = dict.fromkeys(groups, 0)
    for group in groups:
        counts[group] += 1
    return sorted(counts, key=lambda group: (-counts[group], group))


def _page(drawn: LatentMap) -> Html:
    style = _colours() + files("kbit.report").joinpath("latent_map.css").read_text(encoding="utf-8")
    script = files("kbit.report").joinpath("latent_map.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    places = {plane.method: _scaled(plane) for plane in drawn.planes}
    groups: dict[str, dict[str, Any]] = {
        name: {"names": (names := _groups(given)), "of": [names.index(group) for group in given]}
        for name, given in drawn.colourings.items()
    }
    first = next(iter(groups.values()))
    data = {
        "names": list(drawn.names),
        "texts": [_cut(text) for text in drawn.texts],
        "places": places,
        "axes": {plane.method: _axes(plane) for plane in drawn.planes},
        "groups": groups,
        "colours": COLOURS,
        "neighbours": [list(row) for row in drawn.neighbours],
    }
    points = [
        tag(
            "circle",
            tag("title", f"{name}: {_cut(text)}"),
            cx=x,
            cy=y,
            r=6,
            data_i=i,
            fill=COLOURS[first["of"][i] % len(COLOURS)],
        )
        for i, (name, text, (x, y)) in enumerate(
            zip(drawn.names, drawn.texts, places[drawn.planes[0].method], strict=True)
        )
    ]
    planes = [tag("option", NAMES[plane.method], value=plane.method) for plane in drawn.planes]
    colourings = [tag("option", name, value=name) for name in drawn.colourings]
    return tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", name="generator", content=f"kbit {kbit.__version__}"),
            tag("link", rel="icon", href="data:,"),
            tag("title", drawn.title),
            tag("style", Html(style)),
        ),
        tag(
            "body",
            tag(
                "header",
                tag("p", "kbit latent map", class_="soft"),
                tag("h1", drawn.title),
                tag("p", drawn.summary),
                tag(
                    "p",
                    tag("label", "Plane ", tag("select", planes, id="plane")),
                    tag("label", "Colour by ", tag("select", colourings, id="colour")),
                    tag("label", "Find ", tag("input", id="find", type="search", placeholder="words")),
                    class_="controls",
                ),
            ),
            tag(
                "main",
                tag(
                    "div",
                    tag(
                        "svg",
                        points,
                        id="map",
                        viewBox=f"0 0 {SIZE} {SIZE}",
                        role="group",
                        aria_label=f"{len(drawn.texts)} texts on a plane",
                    ),
                    tag("p", " and ".join(_axes(drawn.planes[0])), id="axes", class_="soft"),
                    class_="map",
                ),
                tag(
                    "aside",
                    tag("h2", "Text"),
                    tag("output", "Point at a text; click to keep it.", id="told", for_="map"),
                    tag("h2", "Nearest in the whole space"),
                    tag("ol", id="near"),
                    tag("h2", "Groups"),
                    tag("ul", id="key", class_="key"),
                ),
                _list("Drawn from the prior", drawn.prior),
                _list("From one text to another", drawn.path, ends=drawn.ends),
            ),
            tag("script", script_json(data), type="application/json", id="kbit-data"),
            tag("script", Html(script), type="module"),
        ),
        lang="en",
    )


def _list(title: str, texts: Sequence[str], *, ends: Sequence[str] = ()) -> Html | None:
    if not texts:
        return None
    rows = [tag("li", _cut(text) or "(empty)") for text in texts]
    first, last = (tag("p", name, _cut(text), class_="soft") for name, text in zip(
        ("From: ", "To: "), ends, strict=True)) if ends else (None, None)  # fmt: skip
    return tag("section", tag("h2", title), first, tag("ol", rows), last, class_="wide")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


def _scaled(plane: Plane) -> list[tuple[float, float]]:
    """Points in the picture's own units, upright."""
    low, high = plane.points.min(axis=0), plane.points.max(axis=0)
    span = [float(b - a) or 1.0 for a, b in zip(low, high, strict=True)]
    room = SIZE - 2 * MARGIN
    return [
        (
            round(MARGIN + room * float(x - low[0]) / span[0], 1),
            round(SIZE - MARGIN - room * float(y - low[1]) / span[1], 1),
        )
        for x, y in plane.points
    ]


def _colours() -> str:
    def variables(mode: Mode) -> str:
        theme = THEMES[mode]
        return "".join(f"--{n}:{getattr(theme, n)};" for n in ("ground", "ink", "soft", "rule", "accent"))

    dark = f"@media (prefers-color-scheme:dark){{:root{{{variables('dark')}}}}}"
    return f":root{{{variables('light')}}}{dark}\n"


def plane_picture(points: Sequence[Mapping[str, Any]], out: Path | str, *, mode: Mode = "light") -> Path:
    """Quality and diversity of generators, with intervals: a line for a sweep, a mark for what stands alone.

    Args:
        points: each with `name`, `temperature`, `variety`, `variety_low`, `variety_high`, `bits`, `low`,
            `high` and `human`, in bits per byte.
        out: .svg or .png.
        mode: "light" or "dark".

    Raises:
        UsageError: another suffix.
    """
    path = Path(out)
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a picture is a .png or a .svg, not {path.name!r}. Change the suffix.")
    base = values_chart([dict(point) for point in points])
    x = alt.X("variety:Q", title="entropy of the decoding, bits per byte (more various)",
              scale=alt.Scale(zero=False))  # fmt: skip
    y = alt.Y("bits:Q", title="cross-entropy under the scorer, bits per byte (lower is likelier)",
              scale=alt.Scale(zero=False))  # fmt: skip
    colour = alt.Color("name:N", title=None, scale=alt.Scale(range=list(COLOURS[:2])))
    human = values_chart([{"y": points[0]["human"], "text": "human text"}])
    chart = alt.layer(
        human.mark_rule(strokeDash=[2, 3]).encode(y="y:Q"),
        human.mark_text(align="right", dy=-6).encode(y="y:Q", x=alt.value("width"), text="text:N"),
        base.mark_line(strokeWidth=1.3).encode(x=x, y=y, color=colour, order="temperature:Q"),
        base.mark_rule().encode(x=x, y="low:Q", y2="high:Q", color=colour),
        base.mark_rule().encode(x="variety_low:Q", x2="variety_high:Q", y=y, color=colour),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour, shape="name:N"),
    )
    spec = spec_of(chart, width=720, height=420)
    config = vega_config(mode, ks=[16], sizes=1) | {"background": THEMES[mode].ground, "padding": 20}
    if path.suffix == ".svg":
        return write_file(path, vl_convert.vegalite_to_svg(spec, config=config).encode())
    return write_file(path, vl_convert.vegalite_to_png(spec, config=config, scale=2.0))
