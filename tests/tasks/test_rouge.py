"""Our ROUGE against the reference package on English, and on what that package cannot read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.tasks.metrics.rouge import common_subsequence, rouge_l, rouge_n, rouge_tokens

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "the fox -- quick and brown -- jumped over 2 dogs, the lazy ones!",
    "A dog is lazy.",
    "We propose an AUTO-encoder; it's better than state-of-the-art (by 3.5%).",
    "",
)


@pytest.mark.parametrize("prediction", TEXTS)
@pytest.mark.parametrize("reference", TEXTS)
def test_english_is_as_in_the_reference_package(prediction, reference):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL"])
    theirs = scorer.score(reference, prediction)
    p, r = rouge_tokens(prediction), rouge_tokens(reference)
    assert rouge_n(p, r, 1) == pytest.approx(theirs["rouge1"].fmeasure, abs=1e-12)
    assert rouge_n(p, r, 2) == pytest.approx(theirs["rouge2"].fmeasure, abs=1e-12)
    assert rouge_l(p, r) == pytest.approx(theirs["rougeL"].fmeasure, abs=1e-12)


def test_published_example():
    # Lin 2004, section 3.1: S1 the reference; S2 scores 3/4, S3 2/4, S4 2/4.
    s1 = ["police", "killed", "the", "gunman"]
    for sentence, score in (
        ("police kill the gunman", 0.75),
        ("the gunman kill police", 0.5),
        ("the gunman police killed", 0.5),
    ):
        assert rouge_l(sentence.split(), s1) == score


def test_chinese_is_not_zero():
    prediction, reference = rouge_tokens("我们提出了一种新方法"), rouge_tokens("本文提出一种新的方法。")
    assert reference == list("本文提出一种新的方法")
    assert rouge_n(prediction, reference, 1) == pytest.approx(2 * 7 / 20)
    assert rouge_n(prediction, reference, 2) == pytest.approx(2 * 4 / 18)
    assert rouge_l(prediction, reference) == pytest.approx(2 * 7 / 20)


def slow_common_subsequence(one, other):
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


@given(one=st.text("abcd", max_size=30), other=st.text("abcd", max_size=30))
def test_longest_common_subsequence_is_that_of_the_table(one, other):
    assert common_subsequence(one, other) == slow_common_subsequence(one, other)
