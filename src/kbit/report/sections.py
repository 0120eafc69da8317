"""The sections of the page, each a function from what was measured to HTML."""

from collections.abc import Iterable, Sequence

from kbit.advise import Advice
from kbit.advise.reasons import readable
from kbit.report.headline import Headline
from kbit.report.html import Html, join, tag
from kbit.report.palette import step_of
from kbit.report.points import Point, Points, k_label, models_by_size
from kbit.report.words import bits_in_words, listed, number


def opening(title: str, found: Headline, *, studies: str, contents: Sequence[tuple[str, str]]) -> Html:
    """Title, headline sentence and what it rests on, and a way to the sections."""
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name in contents]
    return tag(
        "header",
        tag("a", "Skip to the figures", href="#gain", class_="skip"),
        tag("p", title, f" · study {studies}" if studies else None, class_="eyebrow"),
        tag("h1", found.sentence),
        tag("p", found.support, class_="support"),
        tag("nav", tag("ul", links), aria_label="Sections"),
    )


def chart(name: str, *, label: str, fallback: Html | None = None) -> Html:
    """A place for a chart. `label` says in words what it shows; `fallback` is there without JavaScript."""
    # The inner place is Vega-Embed's, which writes a role and a label of its own on it.
    place = tag("div", class_="chart", data_chart=name, aria_hidden="true")
    return join(
        tag("div", place, role="img", aria_label=label), tag("noscript", fallback) if fallback else None
    )


def gain_section(
    points: Sequence[Point],
    found: Headline,
    *,
    baseline: str | None,
    has_law: bool,
    frontier: Sequence[str],
    picture: Html | None,
) -> Html:
    """The main figure; without a gain to draw, a sentence that says so."""
    if not any(p.gain is not None for p in points):
        nothing = (
            "No model here has a gain over a baseline: measure with a baseline text to draw this figure."
        )
        return tag(
            "section", tag("h2", "Gain against bits stored"), tag("p", nothing), id="gain", class_="first"
        )
    models = models_by_size(points)
    gains = [p.gain for p in points if p.gain is not None]
    ks = sorted({p.k for p in points})
    label = (
        f"Gain over {baseline or 'the baseline'} against bits stored, a curve for each of k = "
        f"{listed([k_label(k) for k in ks])}, models {models[0]} to {models[-1]}."
    )
    if gains:
        label += (
            f" Gains run from {number(min(gains))} to {number(max(gains))} bits per byte. {found.sentence}"
        )
    words = [
        "Each mark is a model at k bits a weight; bars are 95% intervals (bootstrap over documents).",
        "The broad band is the frontier: nothing smaller gains as much." if frontier else "",
        "Dashed lines are the fitted law; open circles are what the law, fitted without the largest model, "
        "predicted for it." if has_law else "",
        "The ring is what the advice below would run.",
    ]  # fmt: skip
    return tag(
        "section",
        tag("h2", "Gain against bits stored"),
        tag(
            "figure",
            chart("gain", label=label, fallback=picture),
            tag("figcaption", " ".join(w for w in words if w), class_="caption"),
        ),
        id="gain",
        class_="first",
    )


def advice_section(advice: Advice, *, memory_unit: str, memory: float, unknown: Sequence[str]) -> Html:
    """Controls, and an empty table that the script fills."""
    units = [tag("option", u, selected=u == memory_unit, value=u) for u in ("KiB", "MiB", "GiB", "TiB")]
    columns = ("", "model", "format", "gain", "95% interval", "", "memory", "of which", "")
    text = {1, 2, 8}
    head = [
        tag("th", c or Html("&nbsp;"), scope="col", class_="text" if i in text else None)
        for i, c in enumerate(columns)
    ]
    return tag(
        "section",
        tag("h2", "What to run"),
        tag(
            "p",
            "Choices that fit in a memory, best gain first. It needs room for the stored weights, the "
            "key-value cache of the context, and working space. Two choices tie where their 95% "
            "intervals overlap.",
            class_="caption",
        ),
        tag(
            "form",
            tag(
                "div",
                tag("label", "Memory", for_="range"),
                tag("input", type="range", id="range", min=0, max=1000, step=1, aria_describedby="verdict"),
                class_="wide",
            ),
            tag(
                "div",
                tag("label", "Exactly", for_="memory"),
                tag(
                    "span",
                    tag("input", type="number", id="memory", min=0, step="any", value=repr(memory)),
                    tag("select", units, id="unit", aria_label="Unit of memory"),
                    class_="together",
                ),
            ),
            tag(
                "div",
                tag("label", "Context, tokens", for_="context"),
                tag("input", type="number", id="context", min=1, step=1, value=advice.context),
            ),
            class_="controls",
            id="controls",
            autocomplete="off",
        ),
        tag("p", id="verdict", class_="verdict serif", aria_live="polite"),
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", head)),
                tag("tbody", id="choices"),
                aria_label="Choices that fit, best first",
            ),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Choices that fit",
        ),
        tag(
            "button",
            "Show all",
            id="more",
            class_="quiet",
            type="button",
            aria_controls="choices",
            hidden=True,
        ),
        tag(
            "ul",
            [
                tag("li", tag("i", class_=kind), name)
                for kind, name in (
                    ("weights", "weights"),
                    ("cache", "key-value cache"),
                    ("working", "working space"),
                )
            ],
            class_="key",
            aria_hidden="true",
        ),
        tag("p", f"Not offered: {' '.join(unknown)}", class_="note") if unknown else None,
        tag(
            "noscript",
            tag("p", "The list needs JavaScript; `kbit advise` gives the same answer in a terminal."),
        ),
        id="advice",
    )


def by_k_section(points: Sequence[Point], *, has_divergence: bool) -> Html:
    """Bits per byte and divergence against k, side by side."""
    worst = max(points, key=lambda p: p.bits_per_byte)
    best = min(points, key=lambda p: p.bits_per_byte)
    left = tag(
        "figure",
        tag("h2", "Bits per byte, by k"),
        chart(
            "bits_per_byte",
            label=f"Bits per byte against k, a line for each model: lowest {number(best.bits_per_byte)} "
            f"({best.key}), highest {number(worst.bits_per_byte)} ({worst.key}).",
        ),
        tag(
            "figcaption",
            "Lower is better. A line is one model; the fainter, the smaller.",
            class_="caption",
        ),
    )
    right = None
    if has_divergence:
        measured = [p for p in points if p.kl_bits_per_byte is not None]
        most = max(measured, key=lambda p: p.kl_bits_per_byte or 0.0)
        right = tag(
            "figure",
            tag("h2", "Divergence from 16 bits, by k"),
            chart(
                "divergence",
                label="KL divergence from the 16-bit model in bits per byte against k, a line for each "
                f"model: largest {number(most.kl_bits_per_byte)} ({most.key}).",
            ),
            tag(
                "figcaption",
                "KL divergence of the k-bit model's predictions from those of the same model in 16 bits.",
                class_="caption",
            ),
        )
    return tag("section", tag("div", left, right, class_="pair"), id="by-k")


TABLE_COLUMNS = (
    ("model", "text"),
    ("format", "text"),
    ("k", "number"),
    ("stored", "number"),
    ("body bits/weight", "number"),
    ("bits/byte", "number"),
    ("gain", "number"),
    ("95% interval", "number"),
    ("KL", "number"),
    ("top-1 agrees", "number"),
)


def table_section(points: Sequence[Point], *, text: str) -> Html:
    """Every measured point, in a table that sorts."""
    order = {model: i for i, model in enumerate(models_by_size(points))}
    head = [
        tag(
            "th",
            tag("button", name, type="button"),
            scope="col",
            class_="text" if kind == "text" else None,
            data_kind="number" if name == "model" else kind,
        )
        for name, kind in TABLE_COLUMNS
    ]
    body = [_table_row(p, rank=order[p.model]) for p in points]
    return tag(
        "section",
        tag("h2", "Every measurement"),
        tag(
            "p",
            f"On the text {text}. KL (bits per byte) and top-1 agreement are with the same model in 16 bits. "
            "Choose a column to sort by it; a dash is what was not measured.",
            class_="caption",
        ),
        tag(
            "div",
            tag("table", tag("thead", tag("tr", head)), tag("tbody", body), id="table"),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Table of measurements",
        ),
        id="measurements",
    )  # fmt: skip


def _table_row(p: Point, *, rank: int) -> Html:
    method = "" if p.method in (None, "nearest", "none") else f" ({p.method})"
    interval = (
        "–" if p.gain_low is None or p.gain_high is None else f"{number(p.gain_low)} to {number(p.gain_high)}"
    )
    width = None if p.gain_low is None or p.gain_high is None else p.gain_high - p.gain_low
    return tag(
        "tr",
        tag("th", p.model, scope="row", class_="text", data_value=rank),
        tag(
            "td",
            tag("span", class_=f"swatch k{step_of(p.k)}", aria_hidden="true"),
            p.format,
            method,
            class_="text",
        ),
        _figure(p.k, k_label(p.k)),
        _figure(p.stored_bits, bits_in_words(p.stored_bits)),
        _figure(p.body_bits_per_weight, number(p.body_bits_per_weight, 3)),
        _figure(p.bits_per_byte, number(p.bits_per_byte)),
        _figure(p.gain, number(p.gain)),
        _figure(width, interval),
        _figure(p.kl_bits_per_byte, number(p.kl_bits_per_byte)),
        _figure(p.top1_agreement, "–" if p.top1_agreement is None else f"{p.top1_agreement:.2%}"),
    )


def _figure(value: float | None, shown: str) -> Html:
    return tag("td", shown, data_value="" if value is None else repr(value))


def baselines_section(points: Points, text: str) -> Html | None:
    """The ladder of baselines, with the best model on it."""
    rungs = [(b.name, b.bits_per_byte, False) for b in points.baselines if b.text == text]
    if not rungs:
        return None
    best = min(points.of_text(text), key=lambda p: p.bits_per_byte)
    rungs.append((best.key, best.bits_per_byte, True))
    rungs.sort(key=lambda r: -r[1])
    top = rungs[0][1]
    lines = []
    for name, value, is_model in rungs:
        lines += [
            tag("span", name, " (headline baseline)" if name == points.headline_baseline else None),
            tag("span", class_="model bar" if is_model else "bar", style=f"width:{100 * value / top:.2f}%"),
            tag("span", number(value, 3), class_="value"),
        ]
    return tag(
        "section",
        tag("h2", "The ladder of baselines"),
        tag(
            "p",
            "Bits for each byte of the same text; shorter is better. Gain is the step down from the headline "
            "baseline.",
            class_="caption",
        ),
        tag("div", lines, class_="ladder"),
        id="baselines",
    )  # fmt: skip


def missing_section(points: Points) -> Html | None:
    """What could not be measured, and why."""
    if not points.missing:
        return None
    head = [
        tag("th", c, scope="col", class_="text")
        for c in ("model", "format", "text", "metric", "status", "reason")
    ]
    body = [
        tag(
            "tr",
            tag("th", m.model, scope="row", class_="text"),
            [tag("td", c, class_="text") for c in (m.format or "–", m.text, m.metric, m.status)],
            tag("td", m.reason, class_="long"),
        )
        for m in points.missing
    ]
    count = len(points.missing)
    return tag(
        "section",
        tag("h2", "What is missing"),
        tag(
            "p",
            f"{count} measurement{'s have' if count > 1 else ' has'} no figure. Nothing above counts "
            f"{'them' if count > 1 else 'it'} as zero.",
            class_="caption",
        ),
        tag(
            "div",
            tag("table", tag("thead", tag("tr", head)), tag("tbody", body)),
            class_="scroll", tabindex=0, role="region", aria_label="Missing measurements",
        ),
        id="missing",
    )  # fmt: skip


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """A list of terms and what they are; a pair without a value is left out."""
    return tag(
        "dl",
        [join(tag("dt", term), tag("dd", value)) for term, value in pairs if value not in (None, "", [])],
    )


def assumptions_section(advice: Advice | None, found: Headline, pairs: Iterable[tuple[str, object]]) -> Html:
    """Assumptions of the advice and of the comparison, versions and hashes."""
    taken = [*(advice.assumptions if advice else ()), *(found.frontier.assumptions if found.frontier else ())]
    return tag(
        "section",
        tag("h2", "Assumptions and versions"),
        tag("ul", [tag("li", a) for a in taken], class_="caption") if taken else None,
        facts(pairs),
        id="assumptions",
    )


def memory_in_words(advice: Advice) -> tuple[str, float]:
    """The unit in which a memory is best written, and the number."""
    size_bytes = advice.memory_gib * 2**30
    unit = readable(size_bytes).split()[-1]
    widths = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
    if unit not in widths:
        unit = "KiB"
    return unit, size_bytes / widths[unit]
