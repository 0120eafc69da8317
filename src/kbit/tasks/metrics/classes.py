"""Accuracy, balanced accuracy, macro-F1, calibration error and confusion of choices."""

from collections.abc import Sequence

import numpy as np

from kbit.information.resample import Floats
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Metric, mean_of

BINS = 15


def probabilities(answer: Answer) -> Floats:
    """Of each choice among the choices, from its bits.

    >>> probabilities(Answer(choice_bits=(1.0, 2.0, 2.0))).tolist()
    [0.5, 0.25, 0.25]
    """
    bits = np.array(answer.choice_bits)
    shares = np.exp2(bits.min() - bits)
    result: Floats = shares / shares.sum()
    return result


def confusion(items: Sequence[Item], answers: Sequence[Answer]) -> list[list[int]]:
    """How often each class (row) was taken for each (column)."""
    found = np.zeros((len(items[0].choices),) * 2, dtype=np.int64)
    for item, answer in zip(items, answers, strict=True):
        found[item.gold or 0, answer.choice] += 1
    table: list[list[int]] = found.tolist()
    return table


def _right(item: Item, answer: Answer, language: str) -> float:
    return credit(answer.choice_bits, item.gold or 0)


def credit(bits: Sequence[float], gold: int) -> float:
    """1 where the right choice is the likeliest, shared out where several are exactly as likely."""
    best = [i for i, value in enumerate(bits) if value == min(bits)]
    return float(gold in best) / len(best)


def _normalised(item: Item, answer: Answer, language: str) -> float:
    """As the harness's acc_norm: bits by the choice's characters."""
    lengths = [float(len(choice)) for choice in item.choices]
    per_character = [bits / length for bits, length in zip(answer.choice_bits, lengths, strict=True)]
    return credit(per_character, item.gold or 0)


def _class_columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    """By class: right, so many there are, so many predicted."""
    count = len(items[0].choices)
    found = np.zeros((len(items), count, 3))
    for row, (item, answer) in enumerate(zip(items, answers, strict=True)):
        gold = item.gold or 0
        found[row, gold, 1] = 1
        found[row, answer.choice, 2] = 1
        found[row, gold, 0] = answer.choice == gold
    return found.reshape(len(items), 3 * count)


def balanced_accuracy(sums: Floats) -> Floats:
    """Mean over the classes that occur of the share that was recognised (Brodersen et al. 2010)."""
    by_class = sums.reshape((*sums.shape[:-1], -1, 3))
    occur = by_class[..., 1] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(occur, by_class[..., 0] / by_class[..., 1], 0.0)
        result: Floats = recall.sum(axis=-1) / occur.sum(axis=-1)
    return result


def macro_f1(sums: Floats) -> Floats:
    """Mean F1 over the classes that occur or were predicted; as scikit-learn's with such labels."""
    by_class = sums.reshape((*sums.shape[:-1], -1, 3))
    seen = by_class[..., 1] + by_class[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(seen > 0, 2 * by_class[..., 0] / seen, 0.0)
        result: Floats = f1.sum(axis=-1) / (seen > 0).sum(axis=-1)
    return result


def _bin_columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    """By bin of confidence: right less confidence; and one."""
    found = np.zeros((len(items), BINS + 1))
    for row, (item, answer) in enumerate(zip(items, answers, strict=True)):
        confidence = float(probabilities(answer).max())
        place = min(BINS - 1, int(np.ceil(confidence * BINS)) - 1)
        found[row, place] = float(answer.choice == item.gold) - confidence
        found[row, BINS] = 1
    return found


def calibration_error(sums: Floats) -> Floats:
    """Expected calibration error: mean distance of accuracy and confidence over 15 bins, by their items.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    result: Floats = np.abs(sums[..., :BINS]).sum(axis=-1) / sums[..., BINS]
    return result


ACCURACY = Metric(
    name="accuracy", what="items whose likeliest choice is right", unit="0 to 1", columns=mean_of(_right)
)
ACCURACY_NORM = Metric(
    name="accuracy_norm",
    what="the same by bits per character of the choice (the harness's acc_norm)",
    unit="0 to 1",
    columns=mean_of(_normalised),
)
BALANCED_ACCURACY = Metric(
    name="balanced_accuracy",
    what="accuracy of each class, averaged",
    unit="0 to 1",
    columns=_class_columns,
    statistic=balanced_accuracy,
)
MACRO_F1 = Metric(
    name="macro_f1",
    what="F1 of each class, averaged",
    unit="0 to 1",
    columns=_class_columns,
    statistic=macro_f1,
)
CALIBRATION = Metric(
    name="calibration_error",
    what="distance of confidence and accuracy, 15 bins",
    unit="0 to 1",
    columns=_bin_columns,
    statistic=calibration_error,
    higher_is_better=False,
)
