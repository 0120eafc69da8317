"""Replies, programs, pairs, the last word, and what names of topics are worth."""

import itertools
import math

import numpy as np
import pytest

from kbit.information.resample import ratio
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.cloze import PERPLEXITY, WORD_ACCURACY
from kbit.tasks.metrics.pairs import BITS_APART, STEREOTYPED
from kbit.tasks.metrics.programs import pass_at_k, pass_metric
from kbit.tasks.metrics.replies import DISTINCT_1, DISTINCT_2, REPLY_BITS
from kbit.tasks.metrics.topics import coherence, occurrence_columns


def item(**fields):
    return Item(name="1", source="x:1", prompt="", **fields)


def test_distinct_n_is_that_of_all_texts_together():
    texts = ["a b a", "b a", "", "你好"]
    items = [item()] * 4
    answers = [Answer(text=text) for text in texts]
    ones = DISTINCT_1.columns(items, answers, "en").sum(axis=0)
    assert ones.tolist() == pytest.approx([4, 7])  # a, b, 你, 好 of seven
    twos = DISTINCT_2.columns(items, answers, "en").sum(axis=0)
    assert twos.tolist() == pytest.approx([3, 4])  # (a b), (b a), (你 好) of four


def test_bits_of_replies_are_sums():
    answers = [Answer(reference_bits=10.0, reference_bytes=4), Answer(reference_bits=2.0, reference_bytes=8)]
    assert float(ratio(REPLY_BITS.columns([item()] * 2, answers, "en").sum(axis=0))) == 1.0


def test_pass_at_k_is_the_share_of_draws_with_a_program_that_passes():
    for n, c, k in itertools.product(range(1, 7), range(7), range(1, 7)):
        if c > n:
            continue
        if k > n:
            assert math.isnan(pass_at_k(n, c, k))
            continue
        draws = list(itertools.combinations(range(n), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(min(d) < c for d in draws) / len(draws))


def test_problems_tried_too_seldom_count_nothing():
    answers = [Answer(tried=5, passed=5), Answer(tried=1, passed=0)]
    assert pass_metric(5).columns([item()] * 2, answers, "en").tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_pairs():
    pair = item(choices=("he", "she"), gold=0)
    answers = [Answer(choice_bits=b) for b in ((3.0, 5.0), (4.0, 3.0), (2.0, 2.0))]
    assert STEREOTYPED.columns([pair] * 3, answers, "en")[:, 0].tolist() == [100.0, 0.0, 50.0]
    assert BITS_APART.columns([pair] * 3, answers, "en")[:, 0].tolist() == [2.0, -1.0, 0.0]


def test_the_last_word():
    asked = item(references=("signs",))
    answers = [Answer(text="signs", reference_bits=1.0), Answer(text="", reference_bits=5.0)]
    assert WORD_ACCURACY.columns([asked] * 2, answers, "en")[:, 0].tolist() == [1.0, 0.0]
    sums = PERPLEXITY.columns([asked] * 2, answers, "en").sum(axis=0)
    assert float(PERPLEXITY.statistic(sums)) == 8.0


def test_coherence_by_hand():
    # Words a, b always together in half of the documents (NPMI 1); a, c never together (-1); d, e by chance.
    documents = [frozenset("abd"), frozenset("abe"), frozenset("cde"), frozenset("c")]
    sums = occurrence_columns(documents, [["a", "b"], ["a", "c"], ["d", "e"]]).sum(axis=0)
    assert float(coherence(sums, words=2)) == pytest.approx((1 - 1 + 0) / 3)
    assert float(coherence(occurrence_columns(documents, [["d", "e"]]).sum(axis=0), words=2)) == 0


def test_coherence_of_many_resamples():
    documents = [frozenset("ab"), frozenset("a"), frozenset("b"), frozenset("c")]
    columns = occurrence_columns(documents, [["a", "b"]])
    draws = np.array([[1, 1, 1, 1], [2, 1, 1, 0]])
    both = coherence(draws @ columns, words=2)
    assert both[0] == pytest.approx(0)
    assert both[1] == pytest.approx(math.log(0.5 / (0.75 * 0.75)) / math.log(2))
