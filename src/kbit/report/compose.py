"""From rows to the page in one step: laws fitted, advice given, page written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kbit.advise import Advice, advise, candidates, memory_of
from kbit.errors import KbitError, UsageError, did_you_mean
from kbit.report.fit_laws import FittedLaws, fit_laws
from kbit.report.headline import Headline, headline
from kbit.report.page import write_report
from kbit.report.points import Points, read_points

LONGEST_DEFAULT_CONTEXT = 2048
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """The page and what stands on it.

    Attributes:
        report: where the page is.
        text: what it is about.
        found: the points drawn.
        headline: the sentence at its top, and what that rests on.
        laws: fitted, and why others were not.
        advice: what the page opens with; None where no model has a gain.
    """

    report: Path
    text: str
    found: Points
    headline: Headline
    laws: FittedLaws
    advice: Advice | None


def compose(
    rows: Rows,
    *,
    out: Path | str,
    title: str,
    text: str | None = None,
    memory_gib: float | None = None,
    context: int | None = None,
    batch: int = 1,
    kv_bits: float = 16.0,
) -> Composed:
    """Fit the laws, give advice and write the page.

    Args:
        rows: exported rows of one study.
        out: the file to write.
        title: of the page.
        text: which text, where rows hold several; by default the first.
        memory_gib: what the advice opens with; by default what the middle one of the choices needs.
        context: in tokens; by default the longest that every model has, at most 2048.
        batch: sequences at once.
        kv_bits: bits for each number of the key-value cache.

    Raises:
        UsageError: no such text, or a number that is not positive.
        KbitError: nothing was measured, or the file cannot be written.
    """
    rows = list(rows)
    found = read_points(rows)
    about = found.texts[0] if text is None else text
    if about not in found.texts:
        raise UsageError(f"no model was measured on the text {about!r}: {did_you_mean(about, found.texts)}")
    laws = fit_laws(rows, text=about)
    advice = None
    if any(p.gain is not None for p in found.of_text(about)):
        tokens = default_context(rows) if context is None else context
        memory = memory_gib
        if memory is None:
            memory = middle_memory_gib(rows, text=about, context=tokens, batch=batch, kv_bits=kv_bits)
        if memory is not None:
            advice = advise(rows, memory_gib=memory, context=tokens, batch=batch, kv_bits=kv_bits, text=about)
    path = write_report(rows, laws.fits, advice, out=out, title=title, text=about, notes=laws.notes)
    return Composed(
        report=path,
        text=about,
        found=found,
        headline=headline(found.of_text(about)),
        laws=laws,
        advice=advice,
    )


def default_context(rows: Rows) -> int:
    """The longest context that every model has, at most 2048 tokens.

    >>> default_context([{"max_context": 512}, {"max_context": 4096}, {"max_context": None}])
    512
    """
    known = [int(row["max_context"]) for row in rows if row.get("max_context")]
    return min([LONGEST_DEFAULT_CONTEXT, *known])


def middle_memory_gib(rows: Rows, *, text: str, context: int, batch: int, kv_bits: float) -> float | None:
    """What the middle one of the candidates needs; None where no candidate's memory is known."""
    needs = [
        memory.memory_gib
        for candidate in candidates(rows, text=text)
        if (memory := memory_of(candidate.row, context=context, batch=batch, kv_bits=kv_bits)) is not None
    ]
    return float(median(needs)) if needs else None


def one_study(names: list[str], wanted: str | None) -> str | None:
    """Which study of a store a report is about: the one asked for, or the only one there is.

    Raises:
        KbitError: there is no such study, or there are several to choose from.

    >>> one_study(["ladder"], None)
    'ladder'
    """
    if wanted is not None:
        if wanted not in names:
            raise KbitError(
                f"the store holds no study {wanted!r}: "
                + (did_you_mean(wanted, names) if names else "it holds none yet.")
            )
        return wanted
    if len(names) > 1:
        raise UsageError(f"the store holds several studies ({', '.join(names)}): choose one with --study.")
    return names[0] if names else None
