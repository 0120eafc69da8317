"""Entropy rate of a text: bits for each further symbol, by estimators that need no model.

Each gives a ratio of sums along the text, so one interval fits all: the text is cut into stretches, and the
spread of the ratio over them is that of another text of this source. It does not speak of bias, which is the
larger error of most: for that there is a warning where the sample is too small.
"""

import contextlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from kbit.coders import CODERS, Coder, baseline
from kbit.coders.registry import CoderRow, find_coder
from kbit.coders.unprimed import UNPRIMED, Unprimed, UnprimedCoder
from kbit.corpus import Document
from kbit.errors import CorpusError, UsageError, did_you_mean
from kbit.information.entropy_of_counts import entropy
from kbit.information.match_length import match_terms
from kbit.information.units import Unit, numbered

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STRETCHES = 32
# A coder is run on so many beginnings of the text where it does not tell the bits of each byte.
BEGINNINGS = 8
FEWEST_SYMBOLS = 16
FEWEST_FOR_MATCHES = 10_000
FEWEST_FOR_COMPRESSORS = 10_000
STILL_LEARNING = 0.03
MOST_BLOCK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EntropyRate:
    """An entropy rate, how sure it is, and what to mind."""

    estimator: str
    unit: Unit
    bits_per_symbol: float
    bits_per_byte: float
    low: float | None
    """95% interval of the bits per symbol over stretches of the text; None where it is too short."""
    high: float | None
    symbols: int
    warning: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A text and its symbols."""

    text: str
    unit: Unit
    symbols: Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Sums whose ratio is the rate, by position or by stretch of the text, in order."""

    numerators: Floats
    denominators: Floats
    value: float | None = None
    """The rate, where it is corrected and so no plain ratio of the sums."""
    warning: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RateEstimator:
    """One row of the table."""

    name: str
    what: str
    source: str
    kind: Literal["match", "block", "code", "compressor"]
    terms: Callable[[Sample], Terms]
    coder: Callable[[], Coder] | None = None
    module: str | None = None
    """What must be installed for it."""

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return self.module is None or importlib.util.find_spec(self.module) is not None


def entropy_rate(text: str, estimator: str = "match-length-inverse", *, unit: Unit = "byte") -> EntropyRate:
    """Entropy rate of one text.

    Args:
        text: read as one sequence.
        estimator: as `rate_estimators` lists them; `block-N` for N symbols, every coder of `kbit ls coders`
            that is fitted to no text, and compressors, which here have read nothing before.
        unit: what a symbol is: byte, character or word.

    Raises:
        UsageError: no such estimator or unit.
        MissingExtraError: the compressor is not installed.
        CorpusError: the text has fewer than 16 symbols.
    """
    row = find_estimator(estimator)
    sample = Sample(text=text, unit=unit, symbols=numbered(text, unit))
    n = len(sample.symbols)
    if n < FEWEST_SYMBOLS:
        raise CorpusError(
            f"the text has {n} symbols ({unit}s), and an entropy rate needs at least {FEWEST_SYMBOLS}: "
            "give a longer one."
        )
    terms = row.terms(sample)
    ratio = math.fsum(terms.numerators) / math.fsum(terms.denominators)
    value = ratio if terms.value is None else terms.value
    spread = _half_width(terms)
    return EntropyRate(
        estimator=row.name,
        unit=unit,
        bits_per_symbol=value,
        bits_per_byte=value * n / len(text.encode()),
        low=None if spread is None else max(0.0, value - spread),
        high=None if spread is None else value + spread,
        symbols=n,
        warning=terms.warning or _warning(row, terms, n),
    )


def rates_of(texts: Sequence[str], estimator: str) -> list[float]:
    """Entropy rate of each text times its bytes: bits, each text measured for itself.

    Args:
        texts: of 16 bytes or more.
        estimator: as in `entropy_rate`, over bytes.
    """
    row = find_estimator(estimator)
    if row.coder is not None:
        documents = [Document(name=str(i), text=text) for i, text in enumerate(texts)]
        return [c.bits for c in row.coder().code_lengths(documents)]
    return [entropy_rate(text, estimator).bits_per_byte * len(text.encode()) for text in texts]


def _half_width(terms: Terms) -> float | None:
    """Half the width of the 95% interval: the spread of the ratio over stretches of the text."""
    pieces = min(STRETCHES, len(terms.numerators))
    if pieces < 4:
        return None
    a, b = (
        np.array([part.sum() for part in np.array_split(values, pieces)])
        for values in (terms.numerators, terms.denominators)
    )
    ratio = a.sum() / b.sum()
    error = math.sqrt(pieces / (pieces - 1) * float(((a - ratio * b) ** 2).sum())) / float(b.sum())
    return float(student.ppf(0.975, pieces - 1)) * error


def _warning(row: RateEstimator, terms: Terms, n: int) -> str | None:
    if row.kind == "match" and n < FEWEST_FOR_MATCHES:
        return (
            f"match lengths of {n} symbols are short, and their bias is larger than the interval. Give "
            f"{FEWEST_FOR_MATCHES} or more, and compare only texts of one length."
        )
    if row.kind == "compressor" and n < FEWEST_FOR_COMPRESSORS:
        return (
            f"of {n} symbols a compressor has learnt little: the figure is far above the rate. Give "
            f"{FEWEST_FOR_COMPRESSORS} or more, and compare only texts of one length."
        )
    half = len(terms.numerators) // 2
    if row.kind == "block" or half < 2:
        return None
    first, second = (
        float(terms.numerators[part].sum() / terms.denominators[part].sum())
        for part in (slice(0, half), slice(half, None))
    )
    if first - second > STILL_LEARNING * max(first, 1e-12):
        return (
            f"the second half of the text takes {1 - second / first:.0%} fewer bits than the first: the "
            "estimate still falls with length. Give more text, and compare only texts of one length."
        )
    return None


def _inverse_of_mean(sample: Sample) -> Terms:
    lengths, logs = match_terms(sample.symbols)
    return Terms(numerators=np.ones_like(logs), denominators=lengths / logs)


def _mean_of_inverse(sample: Sample) -> Terms:
    lengths, logs = match_terms(sample.symbols)
    return Terms(numerators=logs / lengths, denominators=np.ones_like(logs))


def _block(size: int) -> Callable[[Sample], Terms]:
    """H(blocks of N) - H(blocks of N - 1), each by Grassberger's estimator."""

    def terms(sample: Sample) -> Terms:
        whole, shorter = (_block_numbers(sample.symbols, size - less) for less in (0, 1))
        counts = np.bincount(whole)
        long = entropy(counts)
        before = np.bincount(shorter)
        short = 0.0 if size == 1 else entropy(before).bits
        # The last symbols begin no whole block.
        prefix = before[shorter[: len(whole)]]
        return Terms(
            numerators=np.log2(prefix / counts[whole]),
            denominators=np.ones(len(whole)),
            value=max(0.0, long.bits - short),
            warning=long.warning,
        )

    return terms


def _block_numbers(symbols: Ints, size: int) -> Ints:
    """Blocks of so many symbols that begin at each position, numbered from 0."""
    blocks = np.unique(symbols, return_inverse=True)[1].astype(np.int64)
    if size == 0:
        return np.zeros(len(symbols), dtype=np.int64)
    found, last = blocks, blocks
    for _ in range(size - 1):
        last = last[1:]
        found = np.unique(found[:-1] * (int(blocks.max()) + 1) + last, return_inverse=True)[1].astype(
            np.int64
        )
    return found


def _code(make: Callable[[], Coder]) -> Callable[[Sample], Terms]:
    """Bits of a coder that learns as it goes, over symbols, stretch by stretch."""

    def terms(sample: Sample) -> Terms:
        coder = make()
        if sample.unit == "byte" and hasattr(coder, "byte_bits"):
            each = np.asarray(coder.byte_bits(Document(name="text", text=sample.text)), dtype=np.float64)
            return Terms(numerators=each, denominators=np.ones_like(each))
        cuts = np.unique(np.linspace(0, len(sample.text), BEGINNINGS + 1).astype(int))[1:].tolist()
        documents = [Document(name=f"the first {cut}", text=sample.text[:cut]) for cut in cuts]
        bits = np.array([c.bits for c in coder.code_lengths(documents)])
        sizes = np.array([_symbols(d.text, sample.unit) for d in documents], dtype=np.float64)
        return Terms(
            numerators=np.diff(bits, prepend=0.0),
            denominators=np.diff(sizes, prepend=0.0),
        )

    return terms


def _symbols(text: str, unit: Unit) -> int:
    return len(text.encode()) if unit == "byte" else len(numbered(text, unit))


def find_estimator(name: str) -> RateEstimator:
    """The row of an estimator.

    Raises:
        UsageError: there is none of this name.
    """
    rows = {row.name: row for row in rate_estimators()}
    if name in rows:
        return rows[name]
    size = name.removeprefix("block-")
    with contextlib.suppress(UsageError):
        coder = find_coder(name)
        if _learns(coder):
            return _code_row(coder)
    if name.startswith("block-") and size.isdecimal() and 1 <= int(size) <= MOST_BLOCK:
        return _block_row(int(size))
    raise UsageError(
        f"no estimator of an entropy rate is called {name!r}: {did_you_mean(name, rows)} "
        f"(block-1 to block-{MOST_BLOCK}, kt-N and ctw-N too)."
    )


def rate_estimators() -> list[RateEstimator]:
    """The table: match lengths, blocks, coders that learn as they go, compressors."""
    return [
        RateEstimator(
            name="match-length-inverse",
            what="1 / mean of (match length / log2 position)",
            source="Kontoyiannis et al. 1998, eq. 9",
            kind="match",
            terms=_inverse_of_mean,
        ),
        RateEstimator(
            name="match-length-mean",
            what="mean of (log2 position / match length)",
            source="Kontoyiannis et al. 1998, eq. 10",
            kind="match",
            terms=_mean_of_inverse,
        ),
        *(_block_row(size) for size in (1, 2, 3)),
        *(_code_row(row) for row in CODERS.values() if _learns(row)),
        *map(_compressor_row, UNPRIMED.values()),
    ]


def _code_row(row: CoderRow) -> RateEstimator:
    make = partial(baseline, row.name)
    return RateEstimator(
        name=row.name, what=row.what, source=row.source, kind="code", terms=_code(make), coder=make
    )


def _compressor_row(row: Unprimed) -> RateEstimator:
    make = partial(UnprimedCoder, row.name)
    return RateEstimator(
        name=row.name,
        what=row.what,
        source=row.source,
        kind="compressor",
        terms=_code(make),
        coder=make,
        module=row.module,
    )


def _learns(row: CoderRow) -> bool:
    return not row.needs_baseline_text and row.name != "uniform"


def _block_row(size: int) -> RateEstimator:
    return RateEstimator(
        name=f"block-{size}",
        what="entropy of single symbols"
        if size == 1
        else f"entropy of blocks of {size} less that of {size - 1}",
        source="Shannon 1951; Grassberger 2003",
        kind="block",
        terms=_block(size),
    )
