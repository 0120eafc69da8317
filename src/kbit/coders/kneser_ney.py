"""Interpolated modified Kneser-Ney smoothing over byte n-grams.

For a byte w after a context h of m - 1 symbols, h' being h without its first symbol:

    p(w | h) = (c(hw) - D(c(hw))) / c(h.) + gamma(h) p(w | h')        where hw was seen
    p(w | h) = gamma(h) p(w | h')                                     where only h was
    p(w | h) = p(w | h')                                              where neither was
    gamma(h) = (D1 N1(h.) + D2 N2(h.) + D3 N3+(h.)) / c(h.)

and at the bottom one 256th. At the highest order, and for grams that begin with ^ (which nothing precedes),
c counts occurrences; below it, c(hw) counts the distinct symbols seen before hw. Discounts of each order
come from its counts of counts n1..n4:

    Y = n1 / (n1 + 2 n2),  Dk = k - (k+1) Y n(k+1) / nk  for k = 1, 2 and 3+

and are (0.5, 1, 1.5) where one of n1..n4 is zero or a discount falls outside (0, k].

Sources: Chen & Goodman, "An empirical study of smoothing techniques for language modeling" (1999), eq. 24-26;
Heafield et al., "Scalable modified Kneser-Ney language model estimation" (2013), for the layout (interpolated
probabilities and back-offs) and for the discounts to fall back to.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.coders.grams import GramCounter, GramCounts, Keys, count, mask

Floats = NDArray[np.float64]
FALLBACK = (0.5, 1.0, 1.5)
SYMBOLS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class GramTable:
    """Grams of one order with their interpolated probability, and contexts with their back-off."""

    keys: Keys
    probability: Floats
    contexts: Keys
    backoff: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class KneserNey:
    """A fitted model: for each order m, tables of plain grams and of grams that begin with ^."""

    order: int
    discounts: tuple[tuple[float, float, float], ...]
    """(D1, D2, D3+) of orders 1, 2, …"""
    unigram: Floats
    """Probability of each of the 256 bytes without context."""
    plain: dict[int, GramTable]
    """Orders 2 to `order`."""
    begin: dict[int, GramTable]
    """Orders 2 to `order`, the begin symbol counted."""

    def probability(self, keys: Keys, order: int, *, begin: bool = False) -> Floats:
        """Probability of the last byte of each gram after the symbols before it.

        Args:
            keys: grams of `order` symbols.
            order: from 1 to the model's own.
            begin: whether the first symbol is ^, which is not in the key.
        """
        result = np.ones(len(keys))
        left = np.arange(len(keys))
        for m in range(order, 1, -1):
            table = self.begin[m] if begin and m == order else self.plain[m]
            place, seen = find(table.keys, keys)
            result[left[seen]] *= table.probability[place[seen]]
            keys, left = keys[~seen], left[~seen]
            place, seen = find(table.contexts, keys >> np.uint64(8))
            result[left[seen]] *= table.backoff[place[seen]]
            keys = keys & mask(m - 1)
        result[left] *= self.unigram[(keys & mask(1)).astype(np.intp)]
        return result


def find(table: Keys, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each key stands in a sorted table, and whether it is there at all."""
    if not len(table):
        return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.bool_)
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return place, table[place] == keys


def discounts(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Discounts (D1, D2, D3+) from the counts of one order.

    >>> discounts(np.array([1, 1, 1, 1, 2, 2, 3, 4]))
    (0.5, 1.25, 1.0)
    >>> discounts(np.array([1, 1, 5]))  # nothing was seen twice
    (0.5, 1.0, 1.5)
    """
    n1, n2, n3, n4 = (int(n) for n in np.bincount(np.minimum(counts, 5), minlength=6)[1:5])
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    # A discount of zero would give what was not seen no probability, and a text an infinite length.
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else FALLBACK


def fit(counter: GramCounter) -> KneserNey:
    """Fit a model to counted text of at least one byte."""
    order = counter.order
    plain = {order: counter.plain()}
    begin = {m: counter.begin(m) for m in range(2, order + 1)}
    for m in range(order - 1, 0, -1):
        # Each distinct gram one symbol longer is one symbol seen before its last m bytes.
        plain[m] = count(np.concatenate((plain[m + 1].keys & mask(m), begin[m + 1].keys)))
    found = [
        discounts(np.concatenate([table[m].counts for table in (plain, begin) if m in table]))
        for m in range(1, order + 1)
    ]
    unigram = _unigram(plain[1], found[0])
    plain_tables: dict[int, GramTable] = {}
    begin_tables: dict[int, GramTable] = {}
    for m in range(2, order + 1):
        for counts, tables, suffixes in (
            (plain[m], plain_tables, plain[m].keys & mask(m - 1)),
            (begin[m], begin_tables, begin[m].keys),
        ):
            if m == 2:
                lower = unigram[suffixes.astype(np.intp)]
            else:
                lower = plain_tables[m - 1].probability[np.searchsorted(plain_tables[m - 1].keys, suffixes)]
            tables[m] = _table(counts, found[m - 1], lower)
    return KneserNey(
        order=order, discounts=tuple(found), unigram=unigram, plain=plain_tables, begin=begin_tables
    )


def _unigram(counts: GramCounts, discount: tuple[float, float, float]) -> Floats:
    dense = np.zeros(SYMBOLS, dtype=np.int64)
    dense[counts.keys.astype(np.intp)] = counts.counts
    taken = np.array((0.0, *discount))[np.minimum(dense, 3)]
    result: Floats = (dense - taken + taken.sum() / SYMBOLS) / dense.sum()
    return result


def _table(counts: GramCounts, discount: tuple[float, float, float], lower: Floats) -> GramTable:
    """Interpolate one order with `lower`, the probability of each gram without its first symbol."""
    contexts = counts.keys >> np.uint64(8)
    if not len(contexts):
        return GramTable(keys=counts.keys, probability=lower, contexts=contexts, backoff=lower)
    first = np.concatenate(([0], np.flatnonzero(contexts[1:] != contexts[:-1]) + 1))
    group = np.repeat(np.arange(len(first)), np.diff(first, append=len(contexts)))
    totals = np.add.reduceat(counts.counts, first).astype(np.float64)
    taken = np.array((0.0, *discount))[np.minimum(counts.counts, 3)]
    backoff = np.add.reduceat(taken, first) / totals
    probability = (counts.counts - taken) / totals[group] + backoff[group] * lower
    return GramTable(keys=counts.keys, probability=probability, contexts=contexts[first], backoff=backoff)
