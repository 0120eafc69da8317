"""A page that colours a text by what each token costs: where 3 bits lose information, word by word."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import kbit
from kbit.information.by_token import TokenTable
from kbit.report.atomic_file import write_file
from kbit.report.html import Html, join, script_json, tag
from kbit.report.palette import THEMES, Theme

MOST_TOKENS = 20_000
DEAREST = 25
FEWEST_TIMES = 3


def write_token_page(
    tables: Sequence[TokenTable],
    *,
    out: Path | str,
    title: str,
    model: str,
    against: str | None,
    baseline: str | None,
) -> Path:
    """Write one HTML file that needs no network; without scripts it shows the first colouring.

    Args:
        tables: documents, token by token; the first 20,000 tokens are shown.
        out: where to.
        title: of the page.
        model: what is looked at.
        against: what it is compared with; None for nothing.
        baseline: the coder over bytes; None for none.

    Raises:
        KbitError: the file cannot be written.
    """
    scales = _scales(model, against, baseline)
    shown, left_out = _first_tokens(tables)
    sections = [_document(i, table, scales) for i, table in enumerate(shown)]
    data = {
        "scales": [{"name": name, "title": heading} for name, heading, _ in scales],
        "documents": [_figures(table) for table in shown],
    }
    words = _dearest(tables) if against is not None else None
    style = _colours() + files("kbit.report").joinpath("token_page.css").read_text(encoding="utf-8")
    script = files("kbit.report").joinpath("token_page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    choices = [tag("option", heading, value=name) for name, heading, _ in scales]
    total = sum(len(table.ids) for table in tables)
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", name="generator", content=f"kbit {kbit.__version__}"),
            tag("link", rel="icon", href="data:,"),
            tag("title", title),
            tag("style", Html(style)),
        ),
        tag(
            "body",
            tag(
                "header",
                tag("p", "kbit measure, token by token", class_="soft"),
                tag("h1", title),
                tag("p", _summary(tables, model, against, baseline)),
                tag(
                    "p",
                    tag("label", "Colour by ", tag("select", choices, id="scale")),
                    tag("span", "", id="key", class_="key", aria_hidden="true"),
                    tag("output", "Point at a token, or go through them with Tab.", id="told", for_="scale"),
                    class_="controls",
                ),
            ),
            tag(
                "main",
                words,
                sections,
                tag("p", f"{left_out} of {total} tokens are not shown.", class_="soft") if left_out else None,
            ),
            tag("script", script_json(data), type="application/json", id="kbit-data"),
            tag("script", Html(script), type="module"),
        ),
        lang="en",
    )
    return write_file(out, f"<!doctype html>\n{page}\n".encode())


Scale = tuple[str, str, float]


def _scales(model: str, against: str | None, baseline: str | None) -> list[Scale]:
    """Name, heading, and how many bits are the strongest colour."""
    found: list[Scale] = []
    if against is not None:
        found.append(("cost", f"bits of {model} less those of {against}", 4.0))
    if baseline is not None:
        found.append(("gain", f"gain of {model} over {baseline}", 8.0))
    found.append(("model", f"bits of {model}", 12.0))
    if against is not None:
        found.append(("against", f"bits of {against}", 12.0))
    return found


def _values(table: TokenTable, scale: str) -> Any:
    if scale == "against":
        return table.against_bits
    if scale == "cost":
        return table.model_bits - _known(table.against_bits)
    # A gain is good and a cost is bad: one sign for both, so that red is always worse.
    return table.model_bits - (_known(table.baseline_bits) if scale == "gain" else 0.0)


def _known(values: Any) -> Any:
    return 0.0 if values is None else values


def _first_tokens(tables: Sequence[TokenTable]) -> tuple[list[TokenTable], int]:
    shown, room = [], MOST_TOKENS
    for table in tables:
        if len(table.ids) > room:
            break
        shown.append(table)
        room -= len(table.ids)
    if not shown and tables:
        shown = [_cut(tables[0], MOST_TOKENS)]
    return shown, sum(len(t.ids) for t in tables) - sum(len(t.ids) for t in shown)


def _cut(table: TokenTable, tokens: int) -> TokenTable:
    return TokenTable(
        document=table.document,
        ids=table.ids[:tokens],
        ends=table.ends[:tokens],
        model_bits=table.model_bits[:tokens],
        against_bits=None if table.against_bits is None else table.against_bits[:tokens],
        baseline_bits=None if table.baseline_bits is None else table.baseline_bits[:tokens],
        before=table.before[:tokens],
    )


def _document(place: int, table: TokenTable, scales: Sequence[Scale]) -> Html:
    name, _, full = scales[0]
    values = _values(table, name)
    spans = [
        tag("span", piece, class_="t", data_i=i, style=shade(float(value), full))
        for i, (piece, value) in enumerate(zip(table.pieces, values, strict=True))
        if piece
    ]
    return tag(
        "section",
        tag("h2", table.document.name),
        tag("p", join(spans), class_="text", data_document=place),
        aria_label=table.document.name,
    )


def shade(bits: float, full: float) -> str:
    """How strongly a token is coloured: -1 (better) to 1 (worse), as a CSS variable.

    >>> shade(2.0, 4.0), shade(-9.0, 4.0)
    ('--v:0.50', '--v:-1.00')
    """
    return f"--v:{max(-1.0, min(1.0, bits / full)):.2f}"


def _figures(table: TokenTable) -> dict[str, Any]:
    def told(values: Any) -> list[float] | None:
        return None if values is None else [round(float(v), 3) for v in values]

    return {
        "model": told(table.model_bits),
        "against": told(table.against_bits),
        "baseline": told(table.baseline_bits),
    }


def _summary(tables: Sequence[TokenTable], model: str, against: str | None, baseline: str | None) -> str:
    size = sum(table.document.bytes for table in tables)

    def per_byte(values: Sequence[Any]) -> str:
        return f"{sum(float(np.sum(v)) for v in values) / size:.4f}"

    words = [f"{model} takes {per_byte([t.model_bits for t in tables])} bits a byte"]
    if against is not None:
        words.append(f"{against} {per_byte([_known(t.against_bits) for t in tables])}")
    if baseline is not None:
        words.append(f"{baseline} {per_byte([_known(t.baseline_bits) for t in tables])}")
    return ", ".join(words) + ". Red is worse: bits more than what it is compared with; blue is better."


def _dearest(tables: Sequence[TokenTable]) -> Html | None:
    """Tokens that cost most in all, among those that stand three times or more."""
    costs: dict[str, list[float]] = defaultdict(list)
    for table in tables:
        for piece, cost in zip(table.pieces, _values(table, "cost"), strict=True):
            if piece:
                costs[piece].append(float(cost))
    often = {piece: values for piece, values in costs.items() if len(values) >= FEWEST_TIMES}
    if not often:
        return None
    first = sorted(often, key=lambda piece: -sum(often[piece]))[:DEAREST]
    rows = [
        tag(
            "tr",
            tag("td", tag("code", piece.replace(" ", "␣").replace("\n", "⏎"))),
            tag("td", len(often[piece])),
            tag("td", f"{sum(often[piece]) / len(often[piece]):+.3f}"),
            tag("td", f"{sum(often[piece]):+.1f}"),
        )
        for piece in first
    ]
    head = tag("tr", [tag("th", c, scope="col") for c in ("token", "times", "bits each", "bits in all")])
    return tag(
        "details",
        tag("summary", "Which tokens cost most in all"),
        tag("table", tag("thead", head), tag("tbody", rows)),
    )


def _colours() -> str:
    light, dark = _variables(THEMES["light"]), _variables(THEMES["dark"])
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _variables(theme: Theme) -> str:
    return "".join(f"--{n}:{getattr(theme, n)};" for n in ("ground", "ink", "soft", "rule", "accent"))
