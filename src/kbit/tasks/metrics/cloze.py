"""The last word of a passage."""

from collections.abc import Sequence

import numpy as np

from kbit.errors import CorpusError
from kbit.information.resample import Floats, ratio
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Metric, mean_of


def _right(item: Item, answer: Answer, language: str) -> float:
    return float(answer.text.strip() == item.references[0].strip())


def _bits(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    if any(answer.reference_bits is None for answer in answers):
        raise CorpusError("words without probabilities have no perplexity.")
    return np.array([(answer.reference_bits, 1.0) for answer in answers])


def perplexity(sums: Floats) -> Floats:
    """Two to the mean bits of a word, as the harness has it: a word is one, however many tokens it is."""
    result: Floats = np.exp2(ratio(sums))
    return result


WORD_ACCURACY = Metric(
    name="accuracy",
    what="passages whose last word is the likeliest, token by token",
    unit="0 to 1",
    columns=mean_of(_right),
)
PERPLEXITY = Metric(
    name="perplexity",
    what="two to the bits of the last word",
    unit="1 or more",
    columns=_bits,
    statistic=perplexity,
    higher_is_better=False,
)
