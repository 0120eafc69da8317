"""Documents that are parts of larger ones.

Jaccard similarity does not see that one text is a tenth of another; a held-out text that is a section of a
training text would still be known by heart. Containment (Broder 1997) is shared over one's own shingles.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from kbit.corpus.deduplicate import Deduplicated, Duplicate
from kbit.corpus.document import Document
from kbit.corpus.shingles import shingle_hashes


def remove_contained(
    documents: Sequence[Document], *, threshold: float = 0.8, words: int = 5
) -> Deduplicated:
    """Drop each document whose shingles mostly appear in one larger document. Exact, not sketched.

    Args:
        documents: already without near duplicates.
        threshold: share of a document's distinct shingles found in one other, in (0, 1], from which it goes.
        words: length of a shingle in words.

    >>> whole = Document(name="whole", text=" ".join(map(str, range(100))))
    >>> part = Document(name="part", text=" ".join(map(str, range(40, 60))))
    >>> [d.name for d in remove_contained([part, whole]).kept]
    ['whole']
    """
    shingles = [shingle_hashes(document.text, words) for document in documents]
    if not shingles:
        return Deduplicated(kept=[], dropped=[])
    distinct, counts = np.unique(np.concatenate(shingles), return_counts=True)
    common = distinct[counts > 1]
    dropped: dict[int, Duplicate] = {}
    # From the smallest up: what is dropped is held by something larger, which is judged later.
    # Of equal shares the largest holder is named.
    for i in sorted(range(len(documents)), key=lambda k: (len(shingles[k]), k)):
        own = np.intersect1d(shingles[i], common, assume_unique=True)
        if len(own) < threshold * len(shingles[i]):
            continue
        best, holder = 0.0, i
        for j, other in enumerate(shingles):
            if j != i and j not in dropped and len(other) >= len(shingles[i]):
                share = len(np.intersect1d(own, other, assume_unique=True)) / len(shingles[i])
                if (share, len(other)) > (best, len(shingles[holder])):
                    best, holder = share, j
        if best >= threshold:
            dropped[i] = Duplicate(name=documents[i].name, kept=documents[holder].name, similarity=best)
    kept = [document for i, document in enumerate(documents) if i not in dropped]
    return Deduplicated(kept=kept, dropped=[dropped[i] for i in sorted(dropped)])


def without_holders(
    documents: Iterable[Document], texts: Iterable[Document], *, threshold: float = 0.8, words: int = 5
) -> list[Document]:
    """Leave out each document that holds most of one of the given texts.

    Args:
        documents: to choose from, training documents say.
        texts: none of which may appear in them, held-out documents say.
        threshold: share of a text's distinct shingles, in (0, 1], from which a document holds it.
        words: length of a shingle in words.

    >>> text = Document(name="text", text=" ".join(map(str, range(40, 60))))
    >>> whole = Document(name="whole", text=" ".join(map(str, range(100))))
    >>> without_holders([whole, Document(name="other", text="nothing of the kind")], [text])[0].name
    'other'
    """
    wanted = [shingle_hashes(text.text, words) for text in texts]
    everything = np.unique(np.concatenate(wanted)) if wanted else np.zeros(0, dtype=np.uint64)
    kept = []
    for document in documents:
        found = np.intersect1d(shingle_hashes(document.text, words), everything, assume_unique=True)
        shares = (len(np.intersect1d(found, w, assume_unique=True)) / len(w) for w in wanted)
        if len(found) == 0 or max(shares, default=0.0) < threshold:
            kept.append(document)
    return kept
