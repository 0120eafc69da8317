"""Figures of classification against scikit-learn and cases done by hand."""

import numpy as np
import pytest

from kbit.information.resample import Sums, estimate
from kbit.tasks.baselines import CHANCE, MAJORITY
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.classes import (
    ACCURACY,
    ACCURACY_NORM,
    BALANCED_ACCURACY,
    CALIBRATION,
    MACRO_F1,
    confusion,
)

CLASSES = ("a", "b", "c")


def items_of(golds):
    return [
        Item(name=str(i), source=f"x:{i}", prompt="", choices=CLASSES, classes=CLASSES, gold=int(g))
        for i, g in enumerate(golds)
    ]


def value(metric, items, answers):
    return float(metric.statistic(metric.columns(items, answers, "en").sum(axis=0)))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    golds = rng.choice(3, size=200, p=[0.7, 0.2, 0.1])
    bits = rng.exponential(2, size=(200, 3))
    bits[np.arange(200), golds] *= 0.6
    return items_of(golds), [Answer(choice_bits=tuple(row)) for row in bits.tolist()]


def test_as_scikit_learn(drawn):
    metrics = pytest.importorskip("sklearn.metrics")
    items, answers = drawn
    gold, taken = [i.gold for i in items], [a.choice for a in answers]
    assert value(ACCURACY, items, answers) == pytest.approx(metrics.accuracy_score(gold, taken))
    assert value(BALANCED_ACCURACY, items, answers) == pytest.approx(
        metrics.balanced_accuracy_score(gold, taken)
    )
    assert value(MACRO_F1, items, answers) == pytest.approx(metrics.f1_score(gold, taken, average="macro"))
    assert confusion(items, answers) == metrics.confusion_matrix(gold, taken).tolist()


def test_calibration_error_by_hand():
    # Two sure and wrong half of the time, two at 3/4 and right: |1/2 - 1| * 2/4 + |1 - 3/4| * 2/4.
    sure, most = (0.0, 200.0, 200.0), (np.log2(4 / 3), 3.0, 3.0)
    items = items_of([0, 1, 0, 0])
    answers = [Answer(choice_bits=b) for b in (sure, sure, most, most)]
    assert value(CALIBRATION, items, answers) == pytest.approx(0.375)


def test_a_calibrated_model_has_little_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], size=5_000)
    golds = (p.cumsum(axis=1) > rng.random((5_000, 1))).argmax(axis=1)
    answers = [Answer(choice_bits=tuple(row)) for row in (-np.log2(p)).tolist()]
    assert value(CALIBRATION, items_of(golds), answers) < 0.03


def test_trivial_answers(drawn):
    items, _ = drawn
    shares = np.bincount([i.gold for i in items]) / len(items)
    assert value(ACCURACY, items, MAJORITY.answers(items)) == pytest.approx(shares.max())
    assert value(BALANCED_ACCURACY, items, MAJORITY.answers(items)) == pytest.approx(1 / 3)
    assert value(CALIBRATION, items, MAJORITY.answers(items)) == pytest.approx(0, abs=1e-9)
    assert value(ACCURACY, items, CHANCE.answers(items)) == pytest.approx(1 / 3)


def test_bits_by_length_as_the_harness_has_them():
    item = Item(name="1", source="x:1", prompt="", choices=("no", "certainly not"), gold=1)
    answer = Answer(choice_bits=(4.0, 13.0))
    assert ACCURACY.columns([item], [answer], "en")[0, 0] == 0
    assert ACCURACY_NORM.columns([item], [answer], "en")[0, 0] == 1


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    golds = rng.choice(3, size=60 * 100, p=[0.5, 0.3, 0.2])
    # Right with probability 0.8, 0.6, 0.4 by class: balanced accuracy 0.6.
    right = rng.random(len(golds)) < np.array([0.8, 0.6, 0.4])[golds]
    taken = np.where(right, golds, (golds + 1) % 3)
    covered = 0
    for at in range(0, len(golds), 60):
        items = items_of(golds[at : at + 60])
        answers = [
            Answer(choice_bits=tuple(0.0 if i == t else 9.0 for i in range(3))) for t in taken[at : at + 60]
        ]
        sums = Sums(
            keys=tuple(i.name for i in items), columns=BALANCED_ACCURACY.columns(items, answers, "en")
        )
        found = estimate(sums, BALANCED_ACCURACY.statistic, resamples=300)
        covered += found.low <= 0.6 <= found.high
    assert 0.88 <= covered / 100 <= 0.99
