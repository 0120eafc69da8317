"""BLEU and chrF against sacrebleu's own published vectors, and their sums against its corpus scores."""

import numpy as np
import pytest

from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.bleu import BLEU, CHRF, bleu_figure, bleu_of, chrf_figure, chrf_of, sentence_sums

pytest.importorskip("sacrebleu")

# mjpost/sacrebleu, test/test_bleu.py
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ("The dog bit the man.", "The dog had bit the man."),
    ("It was not unexpected.", "No one was surprised."),
    ("The man bit him first.", "The man had bitten the dog."),
]


@pytest.mark.parametrize(
    ("tokeniser", "published"), [("13a", 48.530827), ("intl", 43.91623493), ("none", 49.1919566)]
)
def test_published_vectors(tokeniser, published):
    sums = sentence_sums(bleu_of("en", tokeniser), HYPOTHESES, REFERENCES)
    assert float(bleu_figure(sums.sum(axis=0))) == pytest.approx(published, abs=1e-6)


def items_of(references):
    return [Item(name=str(i), source=f"x:{i}", prompt="", references=r) for i, r in enumerate(references)]


def figure(metric, hypotheses, references, language):
    answers = [Answer(text=text) for text in hypotheses]
    return float(metric.statistic(metric.columns(items_of(references), answers, language).sum(axis=0)))


CHINESE = ["今天天气很好，我们去公园玩。", "他昨天买了一本书"]
CHINESE_REFERENCES = [("今天天气真好，我们去公园散步。",), ("他昨天买了两本新书。",)]


@pytest.mark.parametrize(
    ("hypotheses", "references", "language"),
    [
        (HYPOTHESES, REFERENCES, "en"),
        (CHINESE, CHINESE_REFERENCES, "zh"),
        (["Der Hund", "nichts davon stimmt hier"], [("Der Hund bellt laut.",), ("alles ist gut so",)], "de"),
        (["", "x"], [("a b c d",), ("y z",)], "en"),
    ],
)
def test_figures_from_sums_are_sacrebleu_s_corpus_scores(hypotheses, references, language):
    most = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    bleu = bleu_of(language).corpus_score(hypotheses, streams).score
    chrf = chrf_of().corpus_score(hypotheses, streams).score
    assert figure(BLEU, hypotheses, references, language) == pytest.approx(bleu, abs=1e-9)
    assert figure(CHRF, hypotheses, references, language) == pytest.approx(chrf, abs=1e-9)


def test_chinese_is_tokenised_and_the_signature_says_so():
    items = items_of(CHINESE_REFERENCES)
    assert BLEU.signature(items, "zh").startswith("nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:")
    assert BLEU.signature(items_of(REFERENCES), "de").startswith("nrefs:2|case:mixed|eff:no|tok:13a|")
    assert "nc:6|nw:0" in CHRF.signature(items, "zh")
    assert figure(BLEU, CHINESE, CHINESE_REFERENCES, "zh") > 40
    assert figure(BLEU, CHINESE, CHINESE_REFERENCES, "en") < 20


def test_many_resamples_at_once_are_as_one_by_one():
    rng = np.random.default_rng(0)
    words = ["a", "b", "c", "d"]
    hypotheses = [" ".join(rng.choice(words, size=7)) for _ in range(9)]
    references = [(" ".join(rng.choice(words, size=6)),) for _ in range(9)]
    for metric, statistic in ((bleu_of("en"), bleu_figure), (chrf_of(), chrf_figure)):
        sums = sentence_sums(metric, hypotheses, references)
        draws = rng.multinomial(9, np.full(9, 1 / 9), size=5)
        for row, value in zip(draws, statistic(draws @ sums), strict=True):
            drawn = [i for i, n in enumerate(row) for _ in range(n)]
            own = metric.corpus_score([hypotheses[i] for i in drawn], [[references[i][0] for i in drawn]])
            assert float(value) == pytest.approx(own.score, abs=1e-9)
