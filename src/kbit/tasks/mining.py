"""Topics without labels: texts put together by their hidden states, each group named by its words."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from kbit.errors import CorpusError, MissingExtraError
from kbit.information.latent_space import Clusters, Floats, cluster, tfidf
from kbit.tasks.item import CHINESE, Answer, Item
from kbit.tasks.metrics.rouge import rouge_tokens
from kbit.tasks.metrics.topics import WORDS

RAREST = 3
"""Documents that a word must occur in to name a topic."""
COMMONEST = 0.3
"""Share of documents above which a word names nothing."""
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """A group of texts: how many, the words that name it, and the labels that are most common in it."""

    texts: int
    words: tuple[str, ...]
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mined:
    """Topics of some texts.

    Attributes:
        topics: the largest first.
        clusters: how far apart they are, and whether they agree with labels, where there are any.
        answers: for the metric of coherence.
    """

    topics: tuple[Topic, ...]
    clusters: Clusters
    answers: tuple[Answer, ...]


def terms(text: str, language: str) -> list[str]:
    """What topics are named by: words of three letters or more; of Chinese, two characters side by side.

    English words that say little (scikit-learn's list) are left out.

    >>> terms("An oil-price shock", "en"), terms("酒店很好", "zh")
    (['oil', 'price', 'shock'], ['酒店', '店很', '很好'])
    """
    tokens = rouge_tokens(text)
    if language != CHINESE:
        empty = _empty_words()
        return [t for t in tokens if len(t) > 2 and not t.isdigit() and t not in empty]
    pairs = itertools.pairwise(tokens)
    return [a + b for a, b in pairs if len(a) == len(b) == 1 and not (a + b).isascii()]


@cache
def _empty_words() -> frozenset[str]:
    try:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
    except ImportError as error:
        raise MissingExtraError("tasks", needed_for="topic mining") from error
    return frozenset(ENGLISH_STOP_WORDS)


def mine(items: Sequence[Item], vectors: Floats, *, count: int, language: str, seed: int = 0) -> Mined:
    """Group texts, name the groups, and see how well names and groups hold together.

    Args:
        items: texts, with their labels in `fields` where they have some.
        vectors: [texts, dimensions]; each dimension is put to mean 0 and spread 1 first.
        count: of groups.
        language: of the texts.
        seed: of the starts of k-means.

    Raises:
        CorpusError: the texts have too few words to name so many groups.
    """
    spread = vectors.std(axis=0)
    scaled = (vectors - vectors.mean(axis=0)) / (spread + (spread == 0))
    labels = [str(item.fields["label"]) for item in items] if "label" in items[0].fields else None
    return _named(items, cluster(scaled, count, labels=labels, seed=seed), language)


def mine_words(items: Sequence[Item], *, count: int, language: str, seed: int = 0) -> Mined:
    """The same by TF-IDF of words instead of a model's hidden states: the baseline."""
    labels = [str(item.fields["label"]) for item in items] if "label" in items[0].fields else None
    vectors = tfidf([item.given for item in items])
    return _named(items, cluster(vectors, count, labels=labels, seed=seed), language)


def mine_shuffled(items: Sequence[Item], mined: Mined, language: str, *, seed: int = 0) -> Mined:
    """Groups of the same sizes with texts drawn at random: what names are worth without groups."""
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(mined.clusters.labels)
    return _named(items, Clusters(labels=tuple(shuffled.tolist()), silhouette=None), language)


def _named(items: Sequence[Item], clusters: Clusters, language: str) -> Mined:
    documents = [terms(item.given, language) for item in items]
    in_documents = Counter(word for document in documents for word in set(document))
    usable = {word for word, n in in_documents.items() if n >= RAREST and n <= COMMONEST * len(documents)}
    groups = Counter(clusters.labels)
    topics = []
    for group, size in groups.most_common():
        mine = [i for i, label in enumerate(clusters.labels) if label == group]
        words = _names([documents[i] for i in mine], documents, usable)
        if len(words) < WORDS:
            raise CorpusError(
                f"a group of {size} texts has {len(words)} words that could name it, and {WORDS} are needed. "
                "Give more or longer texts, or ask for fewer groups (--clusters)."
            )
        labels = Counter(str(items[i].fields["label"]) for i in mine if "label" in items[i].fields)
        topics.append(Topic(texts=size, words=tuple(words), labels=dict(labels.most_common())))
    named = [list(topic.words) for topic in topics]
    wanted = {word for words in named for word in words}
    answers = tuple(
        Answer(told={"words": sorted(wanted & set(document)), **({"topics": named} if i == 0 else {})})
        for i, document in enumerate(documents)
    )
    return Mined(topics=tuple(topics), clusters=clusters, answers=answers)


def _names(mine: Sequence[Sequence[str]], every: Sequence[Sequence[str]], usable: set[str]) -> list[str]:
    """Words that a group has more often than all texts do, by their share of Dunning's G."""
    inside = Counter(word for document in mine for word in document if word in usable)
    outside = Counter(word for document in every for word in document if word in usable)
    n, total = sum(inside.values()), sum(outside.values())

    def surprise(word: str) -> float:
        a, b = inside[word], outside[word]
        expected = n * b / total
        return a * math.log(a / expected) if a > expected else 0.0

    return [word for word in sorted(inside, key=lambda w: (-surprise(w), w))[:WORDS] if surprise(word) > 0]
