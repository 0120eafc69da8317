"""Figures, trivial answers beside, differences, groups, and parts that a store can keep."""

import math

import numpy as np
import pytest

from kbit.tasks import find_task
from kbit.tasks.baselines import COMMONEST_REPLY, COPIED_SOURCE, LAST_TURN, sentences
from kbit.tasks.item import Answer, Item
from kbit.tasks.judge import judge
from kbit.tasks.mining import mine, mine_shuffled, mine_words, terms

EN_DE = find_task("translation")


def items_of(pairs, group=("",)):
    return [
        Item(
            name=str(i),
            source=f"x:{i}",
            prompt="",
            given=given,
            references=(wanted,),
            group=group[i % len(group)],
        )
        for i, (given, wanted) in enumerate(pairs)
    ]


def test_a_perfect_answer_beats_the_copied_source():
    pairs = [(f"the {w} is red today", f"der {w} ist heute rot") for w in "abcdefgh"]
    items = items_of(pairs)
    found = judge(
        EN_DE.metrics, EN_DE.baselines, items, [Answer(text=i.references[0]) for i in items], language="de"
    )
    assert found.figures["bleu"].estimate.value == pytest.approx(100)
    assert found.baselines["copied-source"]["bleu"].estimate.value < 20
    apart = found.differences["copied-source"]["bleu"]
    assert apart.low > 0
    assert apart.value == pytest.approx(100 - found.baselines["copied-source"]["bleu"].estimate.value)
    assert found.groups == {}
    assert found.confusion is None


def test_parts_sum_to_the_figure():
    rng = np.random.default_rng(0)
    words = list("abcdef")
    items = items_of([("x", " ".join(rng.choice(words, size=8))) for _ in range(40)])
    answers = [Answer(text=" ".join(rng.choice(words, size=7))) for _ in items]
    found = judge(EN_DE.metrics, (), items, answers, language="en")
    for figure in found.figures.values():
        total = math.fsum(n for n, _ in figure.parts) / math.fsum(d for _, d in figure.parts)
        assert total == pytest.approx(figure.estimate.value, rel=1e-9)
        spread = np.std([n for n, _ in figure.parts], ddof=1) / math.sqrt(len(items))
        assert spread == pytest.approx(figure.estimate.standard_error, rel=0.2)


def test_groups_have_figures_of_their_own():
    items = items_of([("x", "a b c d")] * 8, group=("men", "women"))
    answers = [Answer(text="a b c d" if i.group == "men" else "q r s t") for i in items]
    found = judge(EN_DE.metrics, (), items, answers, language="en")
    assert found.groups["men"]["bleu"].estimate.value == pytest.approx(100)
    assert found.groups["women"]["bleu"].estimate.value == 0


def test_what_is_not_defined_says_why():
    task = find_task("dialogue")
    items = items_of([("a\nb", "c d"), ("e", "f g")])
    answers = [Answer(text="", reference_bits=8.0, reference_bytes=2)] * 2
    found = judge(task.metrics, task.baselines, items, answers, language="en")
    assert found.figures["bits_per_byte"].estimate.value == 4
    assert found.figures["distinct_1"].estimate is None
    assert "nothing was counted" in found.figures["distinct_1"].reason
    assert found.baselines["last-turn"]["bits_per_byte"].estimate is None
    assert found.baselines["unigram"]["bits_per_byte"].estimate.value > 0
    assert "says nothing of bleu" in found.baselines["unigram"]["bleu"].reason


def test_trivial_answers():
    items = items_of([("one. two!\nthree", "x"), ("你好。再见", "y"), ("z", "x")])
    assert [a.text for a in COPIED_SOURCE.answers(items)] == ["one. two!\nthree", "你好。再见", "z"]
    assert [a.text for a in LAST_TURN.answers(items)] == ["three", "你好。再见", "z"]
    assert [a.text for a in COMMONEST_REPLY.answers(items)] == ["x"] * 3
    assert sentences("A 3.5 b. C?") == ["A 3.5 b.", "C?"]


SUBJECTS = (
    "market shares profit bank trade stocks price investors quarter earnings company deal oil tax budget",
    "goal match league coach season striker penalty stadium referee cup injury transfer team fans pitch",
)


def test_topics_that_are_there_are_found_and_named():
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(80)]
    items = [
        Item(
            name=str(i),
            source=f"x:{i}",
            prompt="",
            given=" ".join(rng.choice(SUBJECTS[label].split(), size=6, replace=False)) + " spoke",
            fields={"label": str(label)},
        )
        for i, label in enumerate(labels)
    ]
    vectors = rng.normal(size=(80, 5)) + 6 * np.array(labels)[:, None]
    pytest.importorskip("sklearn")
    mined = mine(items, vectors, count=2, language="en")
    assert mined.clusters.adjusted_rand == pytest.approx(1)
    assert {
        frozenset(t.words) <= frozenset(SUBJECTS[int(next(iter(t.labels)))].split()) for t in mined.topics
    } == {True}
    assert all(len(t.labels) == 1 and t.texts == 40 for t in mined.topics)
    task = find_task("topic-mining")
    shuffled = mine_shuffled(items, mined, "en")

    def coherence(answers):
        return judge(task.metrics, (), items, list(answers), language="en").figures["coherence"].estimate

    ours = coherence(mined.answers)
    assert ours.value > coherence(shuffled.answers).value + 0.1
    assert ours.low < ours.value < ours.high
    assert coherence(mine_words(items, count=2, language="en").answers).value == pytest.approx(
        ours.value, abs=0.1
    )


def test_names_leave_out_words_that_say_little():
    assert terms("The oil and 2004 prices", "en") == ["oil", "prices"]
