"""The table of baselines, by name."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kbit.coders.code_lengths import Coder
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
    make: Callable[[Iterable[Document]], Coder]


def _ngram(order: int) -> CoderRow:
    return CoderRow(
        name=f"kneser-ney-{order}",
        what=f"byte {order}-gram, interpolated modified Kneser-Ney, fitted to the baseline text",
        needs_baseline_text=True,
        source="Chen & Goodman 1999; Heafield et al. 2013",
        version=NgramCoder.version,
        make=lambda documents: NgramCoder.fit(documents, order=order),
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
            make=lambda _: UniformCoder(),
        ),
        CoderRow(
            name="unigram",
            what="bytes by frequency, learnt while coding, anew in each document",
            needs_baseline_text=False,
            source="Krichevsky & Trofimov 1981",
            version=UnigramCoder.version,
            make=lambda _: UnigramCoder(),
        ),
        _ngram(HEADLINE_ORDER),
    )
}
NGRAM_NAME = re.compile(r"kneser-ney-([1-8])")


def find_coder(name: str) -> CoderRow:
    """The row of a baseline; every `kneser-ney-N`, N from 1 to 8, has one.

    Raises:
        UsageError: there is no such baseline.
    """
    if name in CODERS:
        return CODERS[name]
    if match := NGRAM_NAME.fullmatch(name):
        return _ngram(int(match[1]))
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

    >>> [row["name"] for row in listing()]
    ['uniform', 'unigram', 'kneser-ney-6']
    """
    return [
        {
            "name": row.name,
            "what": row.what,
            "needs_baseline_text": row.needs_baseline_text,
            "headline": row.name == HEADLINE,
            "source": row.source,
            "version": row.version,
        }
        for row in CODERS.values()
    ]
