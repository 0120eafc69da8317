"""How well the words of a topic go together: normalised pointwise mutual information in documents."""

import itertools
from collections.abc import Sequence

import numpy as np

from kbit.errors import CorpusError
from kbit.information.resample import Floats
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Metric

WORDS = 10


def occurrence_columns(documents: Sequence[frozenset[str]], topics: Sequence[Sequence[str]]) -> Floats:
    """By document: one; then of each topic, of each of its words whether it occurs, of each pair both.

    Args:
        documents: the words of each.
        topics: words of each topic, all as many.

    Returns:
        float64 [documents, 1 + topics * (words + pairs)].
    """
    found = np.zeros((len(documents), 1 + sum(_width(len(words)) for words in topics)))
    found[:, 0] = 1
    at = 1
    for words in topics:
        has = np.array([[word in document for word in words] for document in documents], dtype=np.float64)
        found[:, at : at + len(words)] = has
        at += len(words)
        for i, j in itertools.combinations(range(len(words)), 2):
            found[:, at] = has[:, i] * has[:, j]
            at += 1
    return found


def _width(words: int) -> int:
    return words + words * (words - 1) // 2


def coherence(sums: Floats, words: int = WORDS) -> Floats:
    """Mean NPMI over pairs of words of a topic, then over topics; -1 to 1, 0 for words that are strangers.

    NPMI = log(p(a, b) / (p(a) p(b))) / -log p(a, b) over documents, -1 for two words never together.

    Source: Bouma 2009; Lau, Newman & Baldwin, EACL 2014.
    """
    by_topic = sums[..., 1:].reshape((*sums.shape[:-1], -1, _width(words)))
    share = by_topic / sums[..., :1, None]
    single, both = share[..., :words], share[..., words:]
    first, second = np.array(list(itertools.combinations(range(words), 2))).T
    with np.errstate(divide="ignore", invalid="ignore"):
        mutual = np.log(both / (single[..., first] * single[..., second])) / -np.log(both)
    mutual = np.where(both >= 1, 1.0, np.where(both > 0, mutual, -1.0))
    result: Floats = mutual.mean(axis=(-1, -2))
    return result


def _columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    """Answers carry the words of their document and, the first of them, those of all topics."""
    if "topics" not in answers[0].told:
        raise CorpusError("texts without topics have no coherence.")
    topics = answers[0].told["topics"]
    return occurrence_columns([frozenset(answer.told["words"]) for answer in answers], topics)


COHERENCE = Metric(
    name="coherence",
    what="NPMI of the ten words that name each topic",
    unit="-1 to 1",
    columns=_columns,
    statistic=coherence,
    # A pair of words that meets in one document meets in none of a third of the resamples.
    interval="normal",
    signature=lambda items, language: f"NPMI|documents|{WORDS} words a topic",
)
