"""Trivial answers that need no model: what a task's figures must be held against."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from kbit.coders.unigram import UnigramCoder
from kbit.corpus import Document
from kbit.information.units import words
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.rouge import rouge_tokens

_SENTENCE = regex.compile(r".+?(?:[.!?](?=\s|$)|[。！？]|$)", regex.S)


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """A way to answer without a model.

    Attributes:
        name: as results are called.
        what: it does.
        answers: to items, in their order.
        only: the metrics it says something of; all where empty.
    """

    name: str
    what: str
    answers: Callable[[Sequence[Item]], list[Answer]]
    only: tuple[str, ...] = ()


def sentences(text: str) -> list[str]:
    """Sentences of a text, by its full stops.

    >>> sentences("It rains. Go home!"), sentences("下雨了。回家！")
    (['It rains.', 'Go home!'], ['下雨了。', '回家！'])
    """
    return [found.strip() for found in _SENTENCE.findall(text) if found.strip()]


def _written(text: Callable[[Item], str]) -> Callable[[Sequence[Item]], list[Answer]]:
    return lambda items: [Answer(text=text(item)) for item in items]


def _first_sentences(count: int) -> Callable[[Item], str]:
    return lambda item: " ".join(sentences(item.given)[:count])


def _nearest_sentence(item: Item) -> str:
    """The sentence that shares most words with the question; the first of several."""
    asked = set(rouge_tokens(item.question))
    found = sentences(item.given)
    return max(found, key=lambda s: len(asked & set(rouge_tokens(s)))) if found else ""


def _last_turn(item: Item) -> str:
    return item.given.strip().splitlines()[-1] if item.given.strip() else ""


def _commonest_reply(items: Sequence[Item]) -> list[Answer]:
    counts = Counter(reference for item in items for reference in item.references[:1])
    [(text, _)] = counts.most_common(1)
    return [Answer(text=text) for _ in items]


def _unigram_reply(items: Sequence[Item]) -> list[Answer]:
    """Bits of each human reply under byte frequencies learnt within it: no text, so no other figure."""
    replies = [Document(name=item.name, text=reply_text(item)) for item in items]
    return [
        Answer(reference_bits=found.bits, reference_bytes=found.bytes)
        for found in UnigramCoder().code_lengths(replies)
    ]


def reply_text(item: Item) -> str:
    """The first reference as it stands after the prompt."""
    return str(item.fields.get("continuation") or item.references[0])


def _commonest_name(item: Item) -> str:
    """The capitalised word that occurs most in the passage; the last of several."""
    found = [w for w in words(item.given) if w[:1].isupper() and len(w) > 1]
    counts = Counter(found)
    return max(reversed(found), key=counts.__getitem__) if found else ""


def takes(item: Item, choice: int) -> Answer:
    """The answer that takes a choice and is sure of it."""
    return Answer(choice_bits=tuple(0.0 if i == choice else 64.0 for i in range(len(item.choices))))


def _majority(items: Sequence[Item]) -> list[Answer]:
    """The commonest class, with the shares of classes as probabilities: right on average, of no use."""
    counts = Counter(item.gold for item in items)
    total = len(items)
    shares = [max(counts[i], 1e-9) / total for i in range(len(items[0].choices))]
    bits = tuple(-math.log2(share) for share in shares)
    return [Answer(choice_bits=bits) for _ in items]


def _shortest(items: Sequence[Item]) -> list[Answer]:
    """The choice with the fewest words, which a model without knowledge finds likeliest."""
    return [
        takes(item, min(range(len(item.choices)), key=lambda i: len(words(item.choices[i]))))
        for item in items
    ]


def _chance(items: Sequence[Item]) -> list[Answer]:
    return [Answer(choice_bits=(1.0,) * len(item.choices)) for item in items]


COPIED_SOURCE = Baseline(
    name="copied-source", what="the text as it is", answers=_written(lambda item: item.given.strip())
)
FIRST_SENTENCE = Baseline(
    name="first-sentence", what="the text's first sentence", answers=_written(_first_sentences(1))
)
FIRST_SENTENCES = Baseline(
    name="first-3-sentences", what="the text's first three sentences", answers=_written(_first_sentences(3))
)
NEAREST_SENTENCE = Baseline(
    name="nearest-sentence",
    what="the sentence that shares most words with the question",
    answers=_written(_nearest_sentence),
)
LAST_TURN = Baseline(name="last-turn", what="what was said last, said again", answers=_written(_last_turn))
COMMONEST_REPLY = Baseline(
    name="commonest-reply", what="the commonest reply of all, always", answers=_commonest_reply
)
MAJORITY = Baseline(name="majority-class", what="the class that most of these items have", answers=_majority)
UNIGRAM_REPLY = Baseline(
    name="unigram",
    what="byte frequencies learnt within each reply",
    answers=_unigram_reply,
    only=("bits_per_byte",),
)
COMMONEST_NAME = Baseline(
    name="commonest-name",
    what="the capitalised word the passage has most often",
    answers=_written(_commonest_name),
)
SHORTEST = Baseline(name="shortest-choice", what="the choice of fewest words", answers=_shortest)
CHANCE = Baseline(name="chance", what="each choice is as likely", answers=_chance)
