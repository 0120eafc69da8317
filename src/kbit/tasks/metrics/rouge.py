"""ROUGE-1, -2 and -L of words, and of characters for scripts that put no spaces between words.

The reference package (rouge-score) keeps only a to z and 0 to 9, so that every Chinese text scores 0.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import regex

from kbit.information.units import UNSPACED
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Metric, mean_of


@cache
def _token() -> "regex.Pattern[str]":
    unspaced = "".join(rf"\p{{Script={name}}}" for name in UNSPACED)
    return regex.compile(rf"[{unspaced}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--[{unspaced}]]+", regex.V1)


def rouge_tokens(text: str) -> list[str]:
    """Lower-case words without signs; each character of a script without spaces stands for itself.

    On English this is what rouge-score does without its stemmer, but that an accented letter is a letter.

    >>> rouge_tokens("The U.S. isn't 今天好！")
    ['the', 'u', 's', 'isn', 't', '今', '天', '好']
    """
    found: list[str] = _token().findall(text.lower())
    return found


def f_measure(matches: float, predicted: float, wanted: float) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is shared."""
    return 2 * matches / (predicted + wanted) if matches else 0.0


def rouge_n(prediction: Sequence[str], reference: Sequence[str], size: int) -> float:
    """F1 of n-grams, each counted at most as often as the reference has it (Lin 2004, section 2).

    >>> rouge_n("the cat sat".split(), "the cat ran".split(), 2)
    0.5
    """
    grams = [
        Counter(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
        for tokens in (prediction, reference)
    ]
    return f_measure((grams[0] & grams[1]).total(), grams[0].total(), grams[1].total())


def rouge_l(prediction: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence of the whole texts (Lin 2004, section 3.1, beta 1)."""
    return f_measure(common_subsequence(prediction, reference), len(prediction), len(reference))


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited" (2004): a row of the table in one integer.

    >>> common_subsequence("police killed the gunman".split(), "the gunman police killed".split())
    2
    """
    places: dict[str, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    every = (1 << len(one)) - 1
    row = every
    for token in other:
        found = row & places.get(token, 0)
        row = ((row + found) | (row - found)) & every
    return len(one) - row.bit_count()


def _best(size: int | None) -> Metric:
    """A row: the best over references, as for several summaries of one text."""

    def value(item: Item, answer: Answer, language: str) -> float:
        predicted = rouge_tokens(answer.text)
        wanted = [rouge_tokens(reference) for reference in item.references]
        if size is None:
            return 100 * max(rouge_l(predicted, tokens) for tokens in wanted)
        return 100 * max(rouge_n(predicted, tokens, size) for tokens in wanted)

    name = "l" if size is None else str(size)
    what = "longest common subsequence" if size is None else f"{size}-grams"
    return Metric(
        name=f"rouge_{name}",
        what=f"F1 of the {what}, best reference",
        unit="0 to 100",
        columns=mean_of(value),
        signature=lambda items, language: f"rouge{name.upper()}|f1|best reference|tok:kbit 1|no stemmer",
    )


ROUGE_1, ROUGE_2, ROUGE_L = _best(1), _best(2), _best(None)
