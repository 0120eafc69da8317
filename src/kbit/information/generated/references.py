"""Pieces of texts, and other texts of the same sizes to compare them with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kbit.errors import CorpusError
from kbit.information.entropy_rate import FEWEST_SYMBOLS

REFERENCES = ("random", "shuffled", "training")
DEFAULT_WINDOW = 512
MOST_WINDOWS = 1024
MOST_WHOLE_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Windows over the texts of a set.

    Attributes:
        of: the place in the set of the text each window is of.
        texts: of each window.
        too_short: documents that are no window because they have fewer than 16 bytes.
    """

    of: tuple[int, ...]
    texts: tuple[str, ...]
    too_short: int


def sliding_windows(texts: Sequence[str], size: int, *, seed: int = 0) -> Windows:
    """Windows of `size` bytes, half a window apart, cut to whole characters; a shorter document is one.

    More than 1024 are thinned out at random.
    """
    of, cut, short = [], [], 0
    for place, text in enumerate(texts):
        encoded = text.encode()
        if len(encoded) < FEWEST_SYMBOLS:
            short += 1
            continue
        starts = range(0, max(1, len(encoded) - size + 1), max(1, size // 2))
        for start in starts:
            of.append(place)
            cut.append(encoded[start : start + size].decode(errors="ignore"))
    if len(cut) > MOST_WINDOWS:
        kept = np.sort(np.random.default_rng(seed).permutation(len(cut))[:MOST_WINDOWS])
        of, cut = [of[i] for i in kept], [cut[i] for i in kept]
    return Windows(of=tuple(of), texts=tuple(cut), too_short=short)


class References:
    """Texts to compare with, of any size.

    Args of the constructor:
        text: what references are made of: the training text, or other human text.
        seed: of their making.
    """

    def __init__(self, text: str, *, seed: int = 0) -> None:
        if not text:
            raise CorpusError("the text that references are made from is empty. Give training or human text.")
        self._text = text
        self._seed = seed
        self._alphabet = np.array(sorted(set(text)))

    def take(self, kind: str, sizes: Sequence[int]) -> list[str]:
        """Texts of so many bytes each, to the last whole character.

        Args:
            kind: `random` (characters of the text's alphabet, each as likely), `shuffled` (the text's
                characters in random order) or `training` (passages of the text as it is).
            sizes: bytes of each.
        """
        rng = np.random.default_rng([self._seed, REFERENCES.index(kind)])
        return list(self._passages(rng, sizes) if kind == "training" else self._drawn(rng, kind, sizes))

    def _passages(self, rng: np.random.Generator, sizes: Sequence[int]) -> Iterator[str]:
        for size in sizes:
            # A character is at least a byte, so `size` characters are enough.
            start = int(rng.integers(0, max(1, len(self._text) - size + 1)))
            yield _cut(self._text[start : start + size], size)

    def _drawn(self, rng: np.random.Generator, kind: str, sizes: Sequence[int]) -> Iterator[str]:
        for size in sizes:
            if kind == "random":
                drawn = self._alphabet[rng.integers(0, len(self._alphabet), size=size)]
                yield _cut("".join(drawn.tolist()), size)
            else:
                # Drawing places is shuffling, for a text that is much longer than a piece of it.
                places = rng.integers(0, len(self._text), size=size)
                yield _cut("".join(self._text[i] for i in places.tolist()), size)


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def whole_text(texts: Sequence[str], most_bytes: int = MOST_WHOLE_BYTES) -> str:
    """All texts as one, a line apart, cut to so many bytes."""
    return _cut("\n".join(texts), most_bytes)
