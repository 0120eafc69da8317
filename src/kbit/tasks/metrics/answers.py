"""Exact match and F1 of answers to questions, after SQuAD's normalisation; Chinese by characters."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from kbit.information.units import words
from kbit.tasks.item import CHINESE, Answer, Item
from kbit.tasks.metrics.metric import Metric, mean_of
from kbit.tasks.metrics.rouge import f_measure

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str, language: str = "en") -> str:
    """Lower case, without signs, articles (of English) and doubled spaces.

    Source: Rajpurkar et al. 2016, the official evaluate-v1.1.py. Beyond it, signs of every script are
    dropped, as XQuAD's Chinese needs.

    >>> normalised("The  Panthers' defense."), normalised("《红楼梦》。", "zh")
    ('panthers defense', '红楼梦')
    """
    text = "".join(c for c in text.lower() if c not in string.punctuation and not _sign(c))
    if language != CHINESE:
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split())


def _sign(character: str) -> bool:
    return ord(character) > 127 and unicodedata.category(character).startswith("P")


def answer_tokens(text: str, language: str = "en") -> list[str]:
    """Words of a normalised answer; each character of a script without spaces stands for itself."""
    plain = normalised(text, language)
    return words(plain) if language == CHINESE else plain.split()


def exact_match(prediction: str, truth: str, language: str = "en") -> float:
    """1 where both are the same answer."""
    if language == CHINESE:
        return float(answer_tokens(prediction, language) == answer_tokens(truth, language))
    return float(normalised(prediction, language) == normalised(truth, language))


def answer_f1(prediction: str, truth: str, language: str = "en") -> float:
    """F1 of the words that both have.

    >>> round(answer_f1("the cat sat", "cat sat down"), 3)
    0.8
    """
    one, other = answer_tokens(prediction, language), answer_tokens(truth, language)
    return f_measure((Counter(one) & Counter(other)).total(), len(one), len(other))


def _match(item: Item, answer: Answer, language: str) -> float:
    return 100 * max(exact_match(answer.text, truth, language) for truth in item.references)


def _f1(item: Item, answer: Answer, language: str) -> float:
    return 100 * max(answer_f1(answer.text, truth, language) for truth in item.references)


def _signature(items: Sequence[Item], language: str) -> str:
    return f"SQuAD 1.1 normalisation|{'characters' if language == CHINESE else 'words'}|best answer"


EXACT = Metric(
    name="exact_match",
    what="answers that are right to the word",
    unit="0 to 100",
    columns=mean_of(_match),
    signature=_signature,
)
ANSWER_F1 = Metric(
    name="f1",
    what="F1 of the words of the answer",
    unit="0 to 100",
    columns=mean_of(_f1),
    signature=_signature,
)
