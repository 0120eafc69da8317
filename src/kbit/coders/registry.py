"""The table of baselines, by name."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kbit.coders.code_lengths import Coder
from kbit.coders.compressors import COMPRESSORS, CompressorCoder
from kbit.coders.context_tree import DEFAULT_DEPTH, ContextTreeCoder
from kbit.coders.kt import KtCoder
from kbit.coders.ngram import HEADLINE_ORDER, NgramCoder
from kbit.coders.uniform import UniformCoder
from kbit.coders.unigram import UnigramCoder
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError, did_you_mean

HEADLINE = f"kneser-ney-{HEADLINE_ORDER}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CoderRow:
    """One baseline: what it is and how it is made."""

    name: str
    what: str
    needs_baseline_text: bool
    source: str
    version: int
    in_ladder: bool = False
    """Whether it is measured where nothing is said."""
    make: Callable[[Iterable[Document]], Coder]


def _ngram(order: int) -> CoderRow:
    return CoderRow(
        name=f"kneser-ney-{order}",
        what=f"byte {order}-gram, interpolated modified Kneser-Ney, fitted to the baseline text",
        needs_baseline_text=True,
        source="Chen & Goodman 1999; Heafield et al. 2013",
        version=NgramCoder.version,
        in_ladder=order == HEADLINE_ORDER,
        make=lambda documents: NgramCoder.fit(documents, order=order),
    )


def _kt(order: int) -> CoderRow:
    return CoderRow(
        name=f"kt-{order}",
        what=f"bytes by frequency after {order} bytes before, learnt while coding, anew in each document",
        needs_baseline_text=False,
        source="Krichevsky & Trofimov 1981",
        version=KtCoder.version,
        make=lambda _: KtCoder(order),
    )


def _ctw(depth: int) -> CoderRow:
    return CoderRow(
        name=f"ctw-{depth}",
        what=f"context-tree weighting, up to {depth} bytes before, anew in each document",
        needs_baseline_text=False,
        source="Willems, Shtarkov & Tjalkens 1995",
        version=ContextTreeCoder.version,
        make=lambda _: ContextTreeCoder(depth=depth),
    )


def _ctw_primed(depth: int) -> CoderRow:
    return CoderRow(
        name=f"ctw-{depth}-primed",
        what=f"context-tree weighting, up to {depth} bytes before, begun from the baseline text",
        needs_baseline_text=True,
        source="Willems, Shtarkov & Tjalkens 1995",
        version=ContextTreeCoder.version,
        make=lambda documents: ContextTreeCoder.fit(documents, depth=depth),
    )


def _compressor(name: str) -> CoderRow:
    row = COMPRESSORS[name]
    return CoderRow(
        name=name,
        what=row.what,
        needs_baseline_text=True,
        source=row.source,
        version=CompressorCoder.version,
        make=lambda documents: CompressorCoder.fit(name, documents),
    )


CODERS: dict[str, CoderRow] = {
    row.name: row
    for row in (
        CoderRow(
            name="uniform",
            what="eight bits for every byte",
            needs_baseline_text=False,
            source="-",
            version=UniformCoder.version,
            in_ladder=True,
            make=lambda _: UniformCoder(),
        ),
        CoderRow(
            name="unigram",
            what="bytes by frequency, learnt while coding, anew in each document",
            needs_baseline_text=False,
            source="Krichevsky & Trofimov 1981",
            version=UnigramCoder.version,
            in_ladder=True,
            make=lambda _: UnigramCoder(),
        ),
        _ngram(HEADLINE_ORDER),
        _kt(2),
        _ctw(DEFAULT_DEPTH),
        _ctw_primed(DEFAULT_DEPTH),
        *(_compressor(name) for name in COMPRESSORS),
    )
}


def _saved(name: str) -> CoderRow:
    from kbit.coders.saved import load_ngram

    return CoderRow(
        name=name,
        what="an n-gram that was fitted and saved by `kbit ngram`",
        needs_baseline_text=False,
        source="Chen & Goodman 1999; Heafield et al. 2013",
        version=NgramCoder.version,
        make=lambda _: load_ngram(name.removeprefix(SAVED)),
    )


def _model(name: str) -> CoderRow:
    return CoderRow(
        name=name,
        what="another language model: a folder or a hub id",
        needs_baseline_text=False,
        source="-",
        version=1,
        make=lambda _: _load_model(name),
    )


def _load_model(name: str) -> Coder:
    import torch

    from kbit.coders.of_model import coder_of
    from kbit.models import load, load_tokenizer

    place = name.removeprefix(MODEL)
    return coder_of(load(place, dtype=torch.float32), load_tokenizer(place), name=name)


# Names that say where a coder lies.
SAVED, MODEL = "saved:", "model:"
GIVEN: dict[str, Callable[[str], CoderRow]] = {SAVED: _saved, MODEL: _model}
# Names with a number of their own choice, beside those in the table.
PATTERNS: tuple[tuple[re.Pattern[str], Callable[[int], CoderRow]], ...] = (
    (re.compile(r"kneser-ney-([1-8])"), _ngram),
    (re.compile(r"kt-([12]?\d|3[0-2])"), _kt),
    (re.compile(r"ctw-([12]?\d|3[0-2])"), _ctw),
    (re.compile(r"ctw-([12]?\d|3[0-2])-primed"), _ctw_primed),
)


def find_coder(name: str) -> CoderRow:
    """The row of a baseline.

    Beside those of the table: `kneser-ney-N`, N from 1 to 8; `kt-N`, `ctw-N` and `ctw-N-primed`, N from 0 to
    32; `saved:FILE`, an n-gram of `kbit ngram`; `model:FOLDER`, another language model.

    Raises:
        UsageError: there is no such baseline.
    """
    if name in CODERS:
        return CODERS[name]
    for prefix, given in GIVEN.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return given(name)
    for pattern, row in PATTERNS:
        if match := pattern.fullmatch(name):
            return row(int(match[1]))
    raise UsageError(
        f"no baseline is called {name!r}: {did_you_mean(name, CODERS)} `kbit ls coders` lists them all."
    )


def baseline(name: str, baseline_documents: Iterable[Document] | None = None) -> Coder:
    """Make a baseline by name.

    Args:
        name: as `kbit ls coders` lists it.
        baseline_documents: the text to fit it to; not read by a baseline that needs none.

    Raises:
        UsageError: there is no such baseline.
        CoderError: it needs a text and there is none.
    """
    row = find_coder(name)
    if row.needs_baseline_text and baseline_documents is None:
        raise CoderError(
            f"the baseline {name!r} is fitted to a text, and none was given. Give one with --baseline-text."
        )
    return row.make(() if baseline_documents is None else baseline_documents)


def listing() -> list[dict[str, str | bool | int]]:
    """Rows for `kbit ls coders`.

    >>> [row["name"] for row in listing() if row["in_ladder"]]
    ['uniform', 'unigram', 'kneser-ney-6']
    """
    return [
        {
            "name": row.name,
            "what": row.what,
            "needs_baseline_text": row.needs_baseline_text,
            "headline": row.name == HEADLINE,
            "in_ladder": row.in_ladder,
            "source": row.source,
            "version": row.version,
        }
        for row in CODERS.values()
    ]
