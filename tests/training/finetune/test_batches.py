"""Orders are a function of seed and step, and classes can be drawn equally often."""

from collections import Counter

import numpy as np
import pytest

from kbit.training.finetune.batches import Order, class_weights, make_batch
from kbit.training.finetune.encode import Encoded


def order(count=50, *, labels=None, seed=3):
    lengths = tuple(int(n) for n in np.random.default_rng(0).integers(5, 90, count))
    return Order(lengths=lengths, labels=labels, batch_examples=8, seed=seed)


def encoded(tokens, answer, label=None):
    return Encoded(
        source="x:1", tokens=np.array(tokens), answer=np.array(answer, dtype=bool), label=label,
        answer_bytes=1, answer_characters=1,
    )  # fmt: skip


def test_an_epoch_is_every_example_once_in_an_order_of_its_own():
    made = order()
    first, second = made.epoch(0), made.epoch(1)
    assert sorted(i for batch in first for i in batch) == list(range(50))
    assert first != second
    assert first == order().epoch(0)
    assert first != order(seed=4).epoch(0)
    assert [made.step(s) for s in range(made.steps_per_epoch)] == first
    assert made.step(made.steps_per_epoch) == second[0]


def test_a_batch_is_of_like_lengths():
    made = order(400)
    spread = [max(made.lengths[i] for i in b) - min(made.lengths[i] for i in b) for b in made.epoch(0)]
    assert np.mean(spread) < 8  # of lengths that differ by 85


def test_classes_are_drawn_equally_often_and_all_before_any_again():
    labels = tuple("rare" if i % 10 == 0 else "common" for i in range(50))
    drawn = [i for batch in order(labels=labels).epoch(0) for i in batch]
    counts = Counter(labels[i] for i in drawn)
    assert counts == {"rare": 25, "common": 25}
    rare = Counter(i for i in drawn if labels[i] == "rare")
    assert set(rare.values()) == {5}
    assert max(Counter(i for i in drawn if labels[i] == "common").values()) == 1


def test_weights_give_every_class_the_same_share():
    labels = ["a"] * 9 + ["b"] * 2 + ["c"]
    weights = class_weights(labels)
    assert [weights[c] * labels.count(c) for c in "abc"] == pytest.approx([4, 4, 4])
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)


def test_no_batch_is_longer_than_the_model_reads():
    long = encoded(range(1, 22), [0] * 20 + [1])
    assert make_batch([long], None).tokens.shape == (1, 33)
    assert make_batch([long], None, longest=24).tokens.shape == (1, 24)
    assert make_batch([long], None, longest=21).tokens.shape == (1, 21)


def test_a_batch_is_padded_on_the_right_and_knows_its_answers():
    batch = make_batch(
        [encoded([1, 5, 6], [0, 0, 1], "a"), encoded([1, 7, 8, 9], [0, 1, 0, 1], "b")], {"a": 0.5, "b": 2.0}
    )
    assert batch.tokens.shape == (2, 17)  # sixteen are read
    assert batch.tokens[:, :4].tolist() == [[1, 5, 6, 0], [1, 7, 8, 9]]
    assert not batch.tokens[:, 4:].any()
    assert batch.wanted[:, :3].tolist() == [[False, True, False], [True, False, True]]
    assert not batch.wanted[:, 3:].any()
    assert batch.targets.tolist() == [6, 7, 9]
    assert batch.example.tolist() == [0, 1, 1]
    assert batch.weights.tolist() == [0.5, 2.0]
