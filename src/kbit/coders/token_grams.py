"""Interpolated modified Kneser-Ney over tokens (`kbit.coders.kneser_ney` has the formulas).

Tokens do not fit into one integer by eights, so grams are a trie: a gram of order m is the number of its
first m - 1 symbols among the grams of order m - 1, and its last symbol; sorted, grams of one context lie side
by side (Heafield, "KenLM: faster and smaller language model queries", 2011, section 3.2). While fitting, each
place of the text carries the number of the gram that ends there, on disk; memory holds the grams.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kbit.coders.grams import GramCounts, count, merge
from kbit.coders.kneser_ney import Floats, discounts, find

Numbers = NDArray[np.int64]
PLACES_AT_ONCE = 1 << 20
NONE = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrieLevel:
    """Grams of one order, of two symbols up."""

    keys: NDArray[np.uint64]
    """Context's number times (vocabulary + 1), plus the last symbol; sorted."""
    probability: Floats
    backoff: Floats
    """For each gram of one order less: what is left for symbols not seen after it; 1 where none was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenKneserNey:
    """A fitted model over tokens 0 to `vocabulary` - 1; the begin symbol ^ has the number `vocabulary`."""

    order: int
    vocabulary: int
    discounts: tuple[tuple[float, float, float], ...]
    unigram: Floats
    """[vocabulary]."""
    levels: tuple[TrieLevel, ...]
    """Orders 2 to `order`."""

    def probability(self, tokens: Numbers) -> Floats:
        """Probability of each token of a document after those before it."""
        symbols = np.concatenate(([self.vocabulary], tokens))
        result = self.unigram[tokens].copy()
        ending = symbols.astype(np.int64)
        for level in self.levels:
            context = ending[:-1]
            known = context >= 0
            gram = self._find(level, context, tokens)
            result[known] *= level.backoff[context[known]]
            seen = gram >= 0
            result[seen] = level.probability[gram[seen]]
            ending = np.concatenate(([NONE], gram))
        return result

    def _find(self, level: TrieLevel, context: Numbers, tokens: Numbers) -> Numbers:
        keys = np.maximum(context, 0).astype(np.uint64) * np.uint64(self.vocabulary + 1) + tokens.astype(
            np.uint64
        )
        distinct, inverse = np.unique(keys, return_inverse=True)
        place, there = find(level.keys, distinct)
        return np.where(there[inverse] & (context >= 0), place[inverse], NONE)


class TokenPredictor:
    """The model at one place of a document."""

    def __init__(self, model: TokenKneserNey) -> None:
        self._model = model
        # The number of the gram of each length that ends here.
        self._ending = [model.vocabulary] + [NONE] * (len(model.levels) - 1)

    def probabilities(self) -> Floats:
        """Probability of each token, from the lowest order up."""
        model = self._model
        result = model.unigram.copy()
        for level, context in zip(model.levels, self._ending, strict=False):
            if context != NONE:
                first = np.uint64(context * (model.vocabulary + 1))
                start, end = np.searchsorted(level.keys, [first, first + np.uint64(model.vocabulary + 1)])
                result *= level.backoff[context]
                result[(level.keys[start:end] - first).astype(np.intp)] = level.probability[start:end]
        return result

    def advance(self, symbol: int) -> None:
        """Go past a token."""
        model, longer = self._model, [symbol]
        for level, context in zip(model.levels[:-1], self._ending, strict=False):
            key = np.array([max(context, 0) * (model.vocabulary + 1) + symbol], dtype=np.uint64)
            place, there = find(level.keys, key)
            longer.append(int(place[0]) if there[0] and context != NONE else NONE)
        self._ending = longer


def fit_tokens(documents: Iterable[list[int]], *, vocabulary: int, order: int) -> TokenKneserNey | None:
    """Fit a model to documents of tokens; None if there is not a token.

    Args:
        documents: tokens 0 to `vocabulary` - 1; read once.
        vocabulary: how many tokens there are.
        order: symbols of the longest gram.
    """
    with tempfile.TemporaryDirectory(prefix="kbit-ngram-") as folder:
        places = _write_symbols(Path(folder) / "1", documents, vocabulary)
        if places is None:
            return None
        counted = [_Level(vocabulary=vocabulary, lower=None)]
        for m in range(2, order + 1):
            level = _Level(vocabulary=vocabulary, lower=counted[-1])
            level.count(places, Path(folder) / str(m - 1), Path(folder) / str(m), last=m == order)
            counted.append(level)
        if order == 1:
            counted[0].raw = _unigram_counts(places, vocabulary)
    return _estimate(counted, vocabulary, order)


def _write_symbols(file: Path, documents: Iterable[list[int]], vocabulary: int) -> NDArray[np.int64] | None:
    """The symbols of all documents end to end, each document after a ^, on disk."""
    tokens = 0
    with file.open("wb") as handle:
        for document in documents:
            tokens += len(document)
            handle.write(np.array([vocabulary, *document], dtype=np.int64).tobytes())
    return np.memmap(file, dtype=np.int64, mode="r") if tokens else None


def _pieces(length: int) -> Iterator[slice]:
    for start in range(1, length, PLACES_AT_ONCE):
        yield slice(start, min(start + PLACES_AT_ONCE, length))


class _Level:
    """Grams of one order while they are counted."""

    def __init__(self, *, vocabulary: int, lower: "_Level | None") -> None:
        self._vocabulary = vocabulary
        self._lower = lower
        self.keys = np.zeros(0, dtype=np.uint64)
        self.raw = np.zeros(0, dtype=np.int64)
        """How often each gram occurs."""
        self.suffix = np.zeros(0, dtype=np.int64)
        """The number of each gram without its first symbol, one order below."""
        self.begins = np.zeros(vocabulary + 1, dtype=np.bool_)
        """Whether it begins with ^."""
        if lower is None:
            self.begins[vocabulary] = True

    def count(self, symbols: Numbers, below: Path, own: Path, *, last: bool) -> None:
        """Count the grams that end at each place, from the numbers of those one symbol shorter."""
        shorter = np.memmap(below, dtype=np.int64, mode="r")
        wide = np.uint64(self._vocabulary + 1)
        parts: list[GramCounts] = []
        for piece in _pieces(len(symbols)):
            keys, valid = self._keys(symbols, shorter, piece, wide)
            parts.append(count(keys[valid]))
            while len(parts) > 1 and 2 * len(parts[-1].keys) > len(parts[-2].keys):
                parts = [*parts[:-2], merge(parts[-2:])]
        whole = merge(parts)
        self.keys, self.raw = whole.keys, whole.counts
        self.suffix = np.zeros(len(self.keys), dtype=np.int64)
        lower = self._lower
        self.begins = lower.begins[(self.keys // wide).astype(np.int64)] if lower else self.begins
        with own.open("wb") as handle:
            handle.write(np.array([NONE], dtype=np.int64).tobytes())
            for piece in _pieces(len(symbols)):
                keys, valid = self._keys(symbols, shorter, piece, wide)
                numbers = np.full(len(keys), NONE, dtype=np.int64)
                numbers[valid] = np.searchsorted(self.keys, keys[valid])
                self.suffix[numbers[valid]] = shorter[piece][valid]
                if not last:
                    handle.write(numbers.tobytes())

    def _keys(
        self, symbols: Numbers, shorter: Numbers, piece: slice, wide: np.uint64
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        context = np.asarray(shorter[piece.start - 1 : piece.stop - 1])
        symbol = np.asarray(symbols[piece])
        valid = (context >= 0) & (symbol != self._vocabulary)
        return np.maximum(context, 0).astype(np.uint64) * wide + symbol.astype(np.uint64), valid


def _unigram_counts(symbols: Numbers, vocabulary: int) -> Numbers:
    found = np.zeros(vocabulary + 1, dtype=np.int64)
    for start in range(0, len(symbols), PLACES_AT_ONCE):
        found += np.bincount(symbols[start : start + PLACES_AT_ONCE], minlength=vocabulary + 1)
    return found


def _estimate(counted: list[_Level], vocabulary: int, order: int) -> TokenKneserNey:
    wide = np.uint64(vocabulary + 1)
    found: list[tuple[float, float, float]] = []
    levels: list[TrieLevel] = []
    unigram = lower = np.zeros(0)
    for m, level in enumerate(counted, start=1):
        counts = level.raw
        if m < order:
            # Below the highest order a gram counts once for each symbol seen before it; nothing precedes ^.
            preceded = np.bincount(counted[m].suffix, minlength=len(level.begins))
            counts = np.where(level.begins, level.raw, preceded) if m > 1 else preceded
        if m == 1:
            dense = counts[:vocabulary]
            found.append(discounts(dense[dense > 0]))
            taken = np.array((0.0, *found[0]))[np.minimum(dense, 3)]
            unigram = (dense - taken + taken.sum() / vocabulary) / dense.sum()
            lower = np.append(unigram, 0.0)
            continue
        found.append(discounts(counts))
        taken = np.array((0.0, *found[-1]))[np.minimum(counts, 3)]
        context = (level.keys // wide).astype(np.int64)
        contexts = len(counted[m - 2].begins)
        totals = np.bincount(context, weights=counts, minlength=contexts)
        left = np.bincount(context, weights=taken, minlength=contexts)
        backoff = np.divide(left, totals, out=np.ones(contexts), where=totals > 0)
        probability = (counts - taken) / totals[context] + backoff[context] * lower[level.suffix]
        levels.append(TrieLevel(keys=level.keys, probability=probability, backoff=backoff))
        lower = probability
    return TokenKneserNey(
        order=order, vocabulary=vocabulary, discounts=tuple(found), unigram=unigram, levels=tuple(levels)
    )
