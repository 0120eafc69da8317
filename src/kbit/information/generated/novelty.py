"""How much of a text is not in the training text."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from kbit.corpus import Document
from kbit.information.resample import Sums, grouped
from kbit.information.units import words

Hashes = NDArray[np.uint64]
# An odd multiplier, so that no position's share is lost modulo 2^64.
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
UNKNOWN = 0


class TrainingGrams:
    """The n-grams of a training text, as sorted 64-bit hashes: 8 bytes for each different one.

    Two of ten million n-grams share a hash once in 400,000 such texts.
    """

    def __init__(self, documents: Iterable[Document], sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self._numbers: dict[str, int] = {}
        found: dict[int, list[Hashes]] = {size: [] for size in self.sizes}
        for document in documents:
            numbers = np.array(
                [self._numbers.setdefault(word, len(self._numbers) + 1) for word in words(document.text)],
                dtype=np.uint64,
            )
            for size in self.sizes:
                found[size].append(np.unique(gram_hashes(numbers, size)))
        self._grams = {
            size: np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64)
            for size, hashes in found.items()
        }

    def novel(self, units: Sequence[str], size: int) -> tuple[int, int]:
        """How many n-grams of a text are not in the training text, and how many it has."""
        numbers = np.array([self._numbers.get(word, UNKNOWN) for word in units], dtype=np.uint64)
        grams = gram_hashes(numbers, size)
        if not len(grams):
            return 0, 0
        known = self._grams[size]
        places = np.minimum(np.searchsorted(known, grams), max(0, len(known) - 1))
        seen = known[places] == grams if len(known) else np.zeros(len(grams), dtype=bool)
        # A word the training text does not have makes its n-grams new, whatever their hash.
        strange = np.convolve(numbers == UNKNOWN, np.ones(size, dtype=int), mode="valid") > 0
        return int((~seen | strange).sum()), len(grams)

    def sums(self, keys: Sequence[str], texts: Sequence[Sequence[str]], size: int) -> Sums:
        """New and all n-grams of each text."""
        counted = [self.novel(units, size) for units in texts]
        return grouped(keys, [float(c[0]) for c in counted], [float(c[1]) for c in counted])


def gram_hashes(numbers: Hashes, size: int) -> Hashes:
    """A hash of the n-gram that begins at each position, uint64 [units - n + 1]."""
    count = len(numbers) - size + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    mixed = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(size):
            mixed = _mix(mixed * MULTIPLIER + numbers[place : place + count])
    return mixed


def _mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64: each bit in depends on each bit out (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: Hashes = values ^ (values >> np.uint64(31))
    return result
