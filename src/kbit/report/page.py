"""`write_report`: one HTML file with everything in it, that asks the network for nothing."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import kbit
from kbit.advise import Advice
from kbit.errors import LawError
from kbit.laws import Fit
from kbit.report import sections
from kbit.report.atomic_file import write_file
from kbit.report.charts import bits_per_byte_chart, divergence_chart
from kbit.report.fit_section import fit_section
from kbit.report.generated_points import RESPONSES, generated_laws, generated_points
from kbit.report.generated_section import generated_section, plane_chart, response_chart
from kbit.report.headline import headline
from kbit.report.html import Html, join, script_json, tag
from kbit.report.memory_items import memory_items
from kbit.report.palette import THEMES, Theme, step_of
from kbit.report.picture import config_of, frontier_keys, main_chart, static_svg
from kbit.report.points import Points, read_points

NAMES = {
    "gain": "Gain", "advice": "What to run", "by-k": "By k", "law": "Law",
    "generated": "Generated text", "baselines": "Baselines",
    "measurements": "Measurements", "missing": "Missing", "assumptions": "Assumptions and versions",
}  # fmt: skip


def write_report(
    rows: Iterable[Mapping[str, Any]],
    fits: Mapping[str, Fit],
    advice: Advice | None,
    *,
    out: Path | str,
    title: str,
    text: str | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the page.

    Args:
        rows: exported rows of a store, with the facts `kbit.advise.memory_of` needs.
        fits: laws fitted to them, by law and by which rows those were (see `fit_laws`).
        advice: for the memory, context, batch and cache the page opens with; None leaves the section out.
        out: the file; it is replaced whole, or not at all.
        title: of the page.
        text: which text the page is about, where rows hold several; by default the first.
        notes: why a law could not be fitted, in sentences.

    Returns:
        Where it is.

    Raises:
        KbitError: nothing was measured, or the file cannot be written.
    """
    rows = list(rows)
    found = read_points(rows)
    about = text if text is not None else found.texts[0]
    if about not in found.texts:
        raise LawError(f"no model was measured on {about!r}; measured: {', '.join(found.texts)}.")
    return write_file(out, _page(rows, found, fits, advice, title=title, text=about, notes=notes).encode())


def _page(
    rows: list[Mapping[str, Any]],
    found: Points,
    fits: Mapping[str, Fit],
    advice: Advice | None,
    *,
    title: str,
    text: str,
    notes: Sequence[str],
) -> str:
    points = found.of_text(text)
    baseline = found.headline_baseline
    says = headline(points)
    gain = main_chart(points, fits, baseline=baseline) if any(p.gain is not None for p in points) else None
    divergence = divergence_chart(points)
    drawn = {
        "gain": gain,
        "bits_per_byte": bits_per_byte_chart(points, [b for b in found.baselines if b.text == text]),
        "divergence": divergence,
    }
    made = generated_points(rows)
    laws, unfitted = generated_laws(made)
    ks = sorted({p.k for p in points})
    if made:
        drawn["generated-plane"] = plane_chart(made, ks=ks)
        drawn |= {f"generated-{metric}": response_chart(made, metric, laws, ks=ks) for metric in RESPONSES}
    charts = {name: spec for name, spec in drawn.items() if spec is not None}
    items = None if advice is None else _advice_data(rows, advice, text=text)
    known = None if items is None else [i for i in items["items"] if i["memory"] is not None]
    body = [
        sections.gain_section(
            points,
            says,
            baseline=baseline,
            has_law=any(f.form.levels_input is not None for f in fits.values()),
            frontier=frontier_keys(points),
            picture=None if gain is None else static_svg(gain, config_of(points, "light")),
        ),
        _advice(advice, items) if advice and known else None,
        sections.by_k_section(points, has_divergence=divergence is not None),
        fit_section(fits, notes),
        generated_section(made, laws, unfitted) if made else None,
        sections.baselines_section(found, text),
        sections.table_section(points, text=text),
        sections.missing_section(found),
        sections.assumptions_section(advice, says, _provenance(rows, found, text)),
    ]
    content = join(*body)
    present = [(anchor, name) for anchor, name in NAMES.items() if f'<section id="{anchor}"' in content]
    data = {
        "charts": charts,
        "config": {mode: config_of(points, mode) for mode in THEMES},
        "advice": items if known else None,
    }
    studies = ", ".join(_distinct(rows, "studies"))
    return _document(
        title=title,
        header=sections.opening(title, says, studies=studies, contents=present),
        content=content,
        data=data,
    )


def _advice(advice: Advice, items: Mapping[str, Any] | None) -> Html:
    unit, memory = sections.memory_in_words(advice)
    unknown = [
        f"{i['name']} (the store does not know its memory)."
        for i in (items or {})["items"]
        if i["memory"] is None
    ]
    return sections.advice_section(advice, memory_unit=unit, memory=memory, unknown=unknown)


def _advice_data(rows: list[Mapping[str, Any]], advice: Advice, *, text: str) -> dict[str, Any]:
    """What the script advises from, and the slider's ends: below the least need, and above the largest."""
    items = memory_items(rows, text=text, batch=advice.batch, kv_bits=advice.kv_bits)
    for item, bits in zip(items, _bits_of(items, rows), strict=True):
        item["step"] = step_of(bits)
    needs = [
        m["weights_bytes"] + m["working_bytes"]
        + advice.context * (m["kv_bytes_per_token"] + m["working_bytes_per_token"])
        + min(advice.context, m["panel"] or 0) * m["working_panel_bytes_per_token"]
        for item in items
        if (m := item["memory"]) is not None
    ]  # fmt: skip
    now = advice.memory_gib * 2**30
    ends = [min([now, *needs]) / 1.3, max([now, *needs]) * 1.3]
    return {"items": items, "range": ends}


def _bits_of(items: list[dict[str, Any]], rows: list[Mapping[str, Any]]) -> list[float]:
    bits = {(str(r.get("model")), str(r.get("format"))): r.get("format_bits") for r in rows}
    return [float(bits.get((i["model"], i["format"])) or 16) for i in items]


def _provenance(rows: list[Mapping[str, Any]], found: Points, text: str) -> list[tuple[str, object]]:
    versions: dict[str, set[str]] = {}
    for given in _distinct(rows, "versions"):
        for package, number in json.loads(given).items():
            versions.setdefault(str(package), set()).add(str(number))
    on_text = [r for r in rows if str(r.get("text")) == text]
    walls = [float(r["wall_s"]) for r in rows if r.get("wall_s") is not None]
    return [
        ("study", ", ".join(_distinct(rows, "studies"))),
        ("text", f"{text}: {_first(on_text, 'documents')} documents, {_first(on_text, 'bytes')} bytes"),
        ("text hash", [tag("code", h) for h in _distinct(on_text, "text_hash")]),
        ("other texts", ", ".join(t for t in found.texts if t != text)),
        ("headline baseline", found.headline_baseline),
        ("context, stride", " / ".join(filter(None, (_all(rows, "context"), _all(rows, "stride"))))),
        ("methods", ", ".join(_distinct(rows, "method"))),
        ("numerics", ", ".join(_distinct(rows, "numerics"))),
        ("algorithms", ", ".join(_distinct(rows, "algorithm"))),
        ("device", ", ".join(f"{d}, {t} threads" for d, t in sorted({
            (str(r["device"]), str(r.get("threads"))) for r in rows if r.get("device")}))),
        ("measured in", f"{sum(walls):.0f} s, {len(walls)} measurements" if walls else None),
        ("packages", ", ".join(f"{p} {' and '.join(sorted(v))}" for p, v in sorted(versions.items()))),
        ("written by", f"kbit {kbit.__version__}"),
    ]  # fmt: skip


def _distinct(rows: Iterable[Mapping[str, Any]], column: str) -> list[str]:
    return sorted({str(r[column]) for r in rows if r.get(column) not in (None, "", "{}")})


def _first(rows: Iterable[Mapping[str, Any]], column: str) -> str:
    return next((f"{int(r[column]):,}" for r in rows if r.get(column) is not None), "an unknown number of")


def _all(rows: Iterable[Mapping[str, Any]], column: str) -> str:
    return ", ".join(_distinct(rows, column))


def _document(*, title: str, header: Html, content: Html, data: Any) -> str:
    style = _colours() + files("kbit.report").joinpath("page.css").read_text(encoding="utf-8")
    scripts = [_bundle(), files("kbit.report").joinpath("page.js").read_text(encoding="utf-8")]
    hashes = " ".join(f"'sha256-{_sha256(s)}'" for s in scripts)
    # Scripts run only if they are these very two; the page may fetch, frame and post nothing.
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"kbit {kbit.__version__}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(style)),
    )
    footer = tag(
        "footer",
        "Made by kbit. Both axes are in bits: what a model stores, and what it gains on each byte of text. "
        "This file needs no network.",
    )
    page = tag(
        "html",
        head,
        tag(
            "body",
            header,
            tag("main", content),
            footer,
            tag("script", script_json(data), type="application/json", id="kbit-data"),
            [tag("script", Html(s), type="module") for s in scripts],
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed, once for all charts."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.kbitEmbed = vegaEmbed;")
    # Inside a script element nothing may look like its end, or like the start of a comment that swallows it.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _colours() -> str:
    light, dark = _variables(THEMES["light"]), _variables(THEMES["dark"])
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _variables(theme: Theme) -> str:
    named = {name: getattr(theme, name) for name in ("ground", "ink", "soft", "rule", "accent")}
    named |= {f"k{i}": colour for i, colour in enumerate(theme.of_k)}
    return "".join(f"--{name}:{colour};" for name, colour in named.items())
