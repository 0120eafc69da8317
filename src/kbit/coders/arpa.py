"""N-grams in the ARPA format that other tools read (KenLM, SRILM): log10 probability, gram, log10 back-off.

Words are numbers: a byte as two hexadecimal digits, a token as its decimal number, `<s>` before a document.
`</s>` is listed with no probability, for the format asks for it: ends of documents are not coded. Source: the
page ngram-format(5) of SRILM.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kbit.coders.kneser_ney import Floats, KneserNey, find
from kbit.coders.token_grams import TokenKneserNey
from kbit.corpus.files import write_whole

NEVER = -99.0
_Gram = tuple[str, float, float]


def write_arpa(path: Path | str, model: KneserNey | TokenKneserNey) -> None:
    """Write a fitted model; a document's words are those of `words_of_bytes` or the tokens' numbers."""
    grams = _ByteGrams(model) if isinstance(model, KneserNey) else _TokenGrams(model)

    def write(file: IO[bytes]) -> None:
        file.write(b"\\data\\\n")
        for m in range(1, model.order + 1):
            file.write(f"ngram {m}={grams.count(m) + (2 if m == 1 else 0)}\n".encode())
        for m in range(1, model.order + 1):
            file.write(f"\n\\{m}-grams:\n".encode())
            if m == 1:
                file.write(f"{NEVER}\t<unk>\n{NEVER}\t</s>\n".encode())
            for words, probability, backoff in grams.of(m):
                tail = "" if m == model.order else f"\t{_log10(backoff)}"
                file.write(f"{_log10(probability)}\t{words}{tail}\n".encode())
        file.write(b"\n\\end\\\n")

    write_whole(path, write)


def words_of_bytes(content: bytes) -> str:
    """A document of the byte n-gram as a sentence of its ARPA file.

    >>> words_of_bytes("aé".encode())
    '61 c3 a9'
    """
    return content.hex(" ")


def _log10(probability: float) -> str:
    return f"{math.log10(probability):.9g}" if probability > 0 else str(NEVER)


class _ByteGrams:
    def __init__(self, model: KneserNey) -> None:
        self._model = model

    def count(self, m: int) -> int:
        if m == 1:
            return len(self._model.unigram) + 1
        return len(self._model.plain[m].keys) + len(self._model.begin[m].keys)

    def of(self, m: int) -> Iterator[_Gram]:
        model = self._model
        if m == 1:
            keys = np.arange(256, dtype=np.uint64)
            yield from self._grams(keys, model.unigram, 1, begin=False)
            yield "<s>", 0.0, float(self._backoffs(np.zeros(1, dtype=np.uint64), 1, begin=True)[0])
            return
        for begin, tables in ((False, model.plain), (True, model.begin)):
            yield from self._grams(tables[m].keys, tables[m].probability, m, begin=begin)

    def _grams(self, keys: np.ndarray, probability: Floats, m: int, *, begin: bool) -> Iterator[_Gram]:
        backoffs = self._backoffs(keys, m, begin=begin)
        for key, p, backoff in zip(keys.tolist(), probability.tolist(), backoffs.tolist(), strict=True):
            words = key.to_bytes(m - begin, "big").hex(" ")
            yield ("<s> " + words if begin else words), p, backoff

    def _backoffs(self, keys: np.ndarray, m: int, *, begin: bool) -> Floats:
        result = np.ones(len(keys))
        if m < self._model.order:
            table = (self._model.begin if begin else self._model.plain)[m + 1]
            place, there = find(table.contexts, keys)
            result[there] = table.backoff[place[there]]
        return result


class _TokenGrams:
    def __init__(self, model: TokenKneserNey) -> None:
        self._model = model
        self._words = [*map(str, range(model.vocabulary)), "<s>"]

    def count(self, m: int) -> int:
        return self._model.vocabulary + 1 if m == 1 else len(self._model.levels[m - 2].keys)

    def of(self, m: int) -> Iterator[_Gram]:
        model = self._model
        if m == 1:
            probability = np.append(model.unigram, 0.0)
        else:
            level, wide = model.levels[m - 2], np.uint64(model.vocabulary + 1)
            context, last = (level.keys // wide).tolist(), (level.keys % wide).tolist()
            self._words = [f"{self._words[c]} {s}" for c, s in zip(context, last, strict=True)]
            probability = level.probability
        backoff = model.levels[m - 1].backoff if m < model.order else np.ones(len(self._words))
        yield from zip(self._words, probability.tolist(), backoff.tolist(), strict=True)
