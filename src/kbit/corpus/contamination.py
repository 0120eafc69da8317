"""How much of a test text a training text holds: runs of words that are in both.

Runs of 13 words are what Brown et al. (2020), "Language models are few-shot learners", appendix C, look for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kbit.corpus.document import Document
from kbit.corpus.shingles import Hashes, shingle_hashes

RUN_WORDS = 13


@dataclass(frozen=True, kw_only=True, slots=True)
class Contaminated:
    """A test document, and how many of its distinct runs of words the training text holds."""

    name: str
    runs: int
    found: int
    source: str | None
    """The first training document that holds some of them."""

    @property
    def share(self) -> float:
        """Found over all."""
        return self.found / self.runs


class ContaminationFinder:
    """Looks for runs of words of test documents in training documents, one after the other.

    A test document of fewer words than a run counts as one run, and is found only in one just as short.
    """

    def __init__(self, test: Sequence[Document], *, words: int = RUN_WORDS) -> None:
        self.words = words
        self._names = [document.name for document in test]
        self._runs = [shingle_hashes(document.text, words) for document in test]
        every = np.concatenate(self._runs) if self._runs else np.zeros(0, dtype=np.uint64)
        self._wanted: Hashes = np.unique(every)
        self._seen = np.zeros(len(self._wanted), dtype=np.bool_)
        self._source: dict[int, str] = {}

    def look(self, document: Document) -> int:
        """How many distinct runs of the test text a training document holds; they are remembered."""
        own = shingle_hashes(document.text, self.words)
        if not len(self._wanted):
            return 0
        places = np.minimum(np.searchsorted(self._wanted, own), len(self._wanted) - 1)
        found = places[self._wanted[places] == own]
        if len(found):
            fresh = found[~self._seen[found]]
            self._seen[fresh] = True
            self._source.update((int(place), document.name) for place in fresh)
        return len(found)

    def result(self) -> list[Contaminated]:
        """Each test document, in order."""
        found = []
        for name, runs in zip(self._names, self._runs, strict=True):
            places = np.searchsorted(self._wanted, runs)
            seen = places[self._seen[places]]
            source = self._source[int(seen[0])] if len(seen) else None
            found.append(Contaminated(name=name, runs=len(runs), found=len(seen), source=source))
        return found


def contamination(
    test: Sequence[Document], training: Iterable[Document], *, words: int = RUN_WORDS
) -> list[Contaminated]:
    """How much of each test document is in a training text, in memory that grows with the test text only.

    >>> test = Document(name="t", text=" ".join(map(str, range(20))))
    >>> training = Document(name="x", text="so " + " ".join(map(str, range(15))))
    >>> [(c.found, c.runs, c.source) for c in contamination([test], [training])]
    [(3, 8, 'x')]
    """
    finder = ContaminationFinder(test, words=words)
    for document in training:
        finder.look(document)
    return finder.result()
