"""Colours of the page and of its charts, by day and by night.

Colours of k are told apart without colour vision too: each k has a shape of its own, colours differ for the
colour-blind (Machado et al. 2009), and each has a contrast of at least 3 to 1 with its ground (WCAG 2.2,
1.4.11). Tests compute both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["light", "dark"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """What is drawn with in one mode: all colours as #rrggbb."""

    ground: str
    ink: str
    soft: str
    rule: str
    accent: str
    of_k: tuple[str, ...]
    size_from: str
    size_to: str


THEMES: dict[Mode, Theme] = {
    "light": Theme(
        ground="#fcfbf8",
        ink="#1d2025",
        soft="#5b6068",
        rule="#e2dfd7",
        accent="#0b5fa5",
        of_k=("#a1191d", "#ca6421", "#004684", "#018579", "#995dcb", "#404040"),
        size_from="#7f91a6",
        size_to="#0c2c4f",
    ),
    "dark": Theme(
        ground="#15171b",
        ink="#eceae5",
        soft="#a5a9b0",
        rule="#30343b",
        accent="#7cb8f2",
        of_k=("#fd786c", "#f3b038", "#a9dffd", "#4cb6af", "#b99dfc", "#ede9e2"),
        size_from="#67809b",
        size_to="#dcebfb",
    ),
}
# k up to which a colour goes: what is between two of them takes the next one
K_STEPS = (2, 3, 4, 6, 8, 16)
SHAPES = ("triangle-down", "diamond", "circle", "square", "triangle-up", "cross")


def step_of(k: float) -> int:
    """Which colour and shape a k has.

    >>> [step_of(k) for k in (1, 2, 3, 4, 5, 6, 8, 16, 32)]
    [0, 0, 1, 2, 3, 3, 4, 5, 5]
    """
    return next((i for i, most in enumerate(K_STEPS) if k <= most), len(K_STEPS) - 1)


def colour_of(k: float, mode: Mode) -> str:
    """The colour of a k."""
    return THEMES[mode].of_k[step_of(k)]


def ramp(count: int, mode: Mode) -> list[str]:
    """Colours for so many sizes, from the least emphasis to the most."""
    first, last = (_channels(c) for c in (THEMES[mode].size_from, THEMES[mode].size_to))
    shares = [i / (count - 1) if count > 1 else 1.0 for i in range(count)]
    return [
        "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(first, last, strict=True))
        for share in shares
    ]


def vega_config(mode: Mode, *, ks: Sequence[float], sizes: int) -> dict[str, Any]:
    """Vega-Lite's `config` of one mode. A chart names no colour itself, so one chart serves both modes."""
    theme = THEMES[mode]
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "range": {"category": [colour_of(k, mode) for k in ks], "ordinal": ramp(sizes, mode)},
        "axis": {
            "domain": False,
            "gridColor": theme.rule,
            "gridWidth": 1,
            "labelColor": theme.soft,
            "labelFontSize": 12,
            "labelPadding": 6,
            "tickColor": theme.rule,
            "titleColor": theme.soft,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 10,
        },
        "axisY": {"ticks": False, "titleAlign": "left", "titleAngle": 0, "titleAnchor": "start", "titleX": 0,
                  "titleY": -14, "titleBaseline": "bottom"},
        "axisX": {"grid": False, "titleAnchor": "middle"},
        "legend": {
            "labelColor": theme.ink,
            "labelFontSize": 12,
            "offset": 30,  # room for the vertical axis' title, which stands between legend and plot
            "orient": "top",
            "padding": 0,
            "symbolSize": 80,
            "titleColor": theme.soft,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titleOrient": "left",
            "titlePadding": 12,
        },
        "style": {
            "soft-line": {"color": theme.soft},
            "note": {"color": theme.soft, "fontSize": 11},
            "frontier": {"color": theme.ink, "opacity": 0.09},
            "halo": {"color": theme.ink},
        },
    }  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour written #rrggbb.

    >>> luminance("#000000"), luminance("#ffffff")
    (0.0, 1.0)
    """
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG 2.2) of two colours, from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _channels(colour: str) -> tuple[int, int, int]:
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))
