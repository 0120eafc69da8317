"""The byte n-gram against a plain one in dictionaries, and its properties as a code."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.coders import NgramCoder
from kbit.coders import grams as grams_module
from kbit.coders.kneser_ney import discounts
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError

BEGIN = -1


def document(text: str, name: str = "d") -> Document:
    return Document(name=name, text=text)


class Plain:
    """Modified Kneser-Ney from its definition: recursion over tuples of symbols, counts in dictionaries."""

    def __init__(self, texts: list[str], order: int) -> None:
        self.order = order
        texts_bytes = [[BEGIN, *t.encode()] for t in texts]
        occurs: dict[int, Counter] = {m: Counter() for m in range(1, order + 1)}
        for symbols in texts_bytes:
            for m in range(1, order + 1):
                for i in range(len(symbols) - m + 1):
                    gram = tuple(symbols[i : i + m])
                    if gram[-1] != BEGIN:
                        occurs[m][gram] += 1
        self.counts: dict[int, Counter] = {order: occurs[order]}
        for m in range(1, order):
            before = defaultdict(set)
            for gram in occurs[m + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[m] = Counter(
                {g: c if g[0] == BEGIN else len(before[g]) for g, c in occurs[m].items()}
            )
        self.discounts = {m: self._discounts(Counter(self.counts[m].values())) for m in self.counts}
        self.after: dict[int, defaultdict] = {m: defaultdict(dict) for m in self.counts}
        for m, counts in self.counts.items():
            for gram, c in counts.items():
                self.after[m][gram[:-1]][gram[-1]] = c

    @staticmethod
    def _discounts(n: Counter) -> list[float]:
        if min(n[1], n[2], n[3], n[4]) == 0:
            return [0, 0.5, 1, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        d = [0] + [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return d if all(0 < d[k] <= k for k in (1, 2, 3)) else [0, 0.5, 1, 1.5]

    def probability(self, context: tuple[int, ...], byte: int) -> float:
        m = len(context) + 1
        if m == 1:
            lower = 1 / 256
        else:
            lower = self.probability(context[1:], byte)
        after = self.after[m].get(context)
        if not after:
            return lower
        d = self.discounts[m]
        total = sum(after.values())
        c = after.get(byte, 0)
        left_over = sum(d[min(v, 3)] for v in after.values())
        return max(c - d[min(c, 3)], 0) / total + left_over / total * lower

    def bits(self, text: str) -> float:
        symbols = [BEGIN, *text.encode()]
        return -sum(
            math.log2(self.probability(tuple(symbols[max(0, i - self.order + 1) : i]), symbols[i]))
            for i in range(1, len(symbols))
        )


# Few letters, so that every count of counts, and each branch of the back-off, comes up.
texts = st.lists(st.text(alphabet="abc\né", max_size=40), min_size=1, max_size=6).filter(lambda ts: any(ts))


@settings(max_examples=80, deadline=None)
@given(texts, st.text(alphabet="abcdé", max_size=25), st.integers(1, 8))
def test_equals_a_plain_implementation(baseline, text, order):
    coder = NgramCoder.fit([document(t) for t in baseline], order=order)
    plain = Plain(baseline, order)
    np.testing.assert_allclose(coder.model.discounts, [plain.discounts[m][1:] for m in range(1, order + 1)])
    [lengths] = coder.code_lengths([document(text)])
    assert lengths.bits == pytest.approx(plain.bits(text), rel=1e-9, abs=1e-9)
    assert lengths.bytes == len(text.encode())


def english(n: int, seed: int = 0) -> str:
    words = "the of and to a in that it is was he for on are with as his they at be this from"
    return " ".join(np.random.default_rng(seed).choice(words.split(" "), n))


@pytest.mark.parametrize("order", range(1, 9))
def test_equals_a_plain_implementation_where_discounts_are_estimated(order):
    baseline = [english(300, seed) for seed in range(3)]
    coder = NgramCoder.fit([document(t) for t in baseline], order=order)
    plain = Plain(baseline, order)
    if order >= 3:
        assert set(coder.model.discounts) != {(0.5, 1.0, 1.5)}, "this text should have all counts of counts"
    text = english(40, seed=9) + " what was not seen"
    [lengths] = coder.code_lengths([document(text)])
    assert lengths.bits == pytest.approx(plain.bits(text), rel=1e-10)


@settings(max_examples=60, deadline=None)
@given(texts, st.text(alphabet="abcdé", max_size=12), st.integers(1, 8))
def test_what_can_follow_sums_to_one(baseline, before, order):
    coder = NgramCoder.fit([document(t) for t in baseline], order=order)
    probability = coder.next_byte(before.encode())
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    assert probability.min() > 0


def test_bits_are_those_of_the_next_byte():
    coder = NgramCoder.fit([document(english(200))])
    text = "that it was\nhé"
    step = [-math.log2(coder.next_byte(text.encode()[:i])[b]) for i, b in enumerate(text.encode())]
    np.testing.assert_allclose(coder.byte_bits(document(text)), step, rtol=1e-12)


def test_a_worked_example():
    # "abab" after ^, order 2. Bigrams: ^a 1, ab 2, ba 1; nothing thrice, so the discounts fall back.
    # Continuations: a after {^, b} is 2, b after {a} is 1. p(a) = (2-1)/3 + (1+.5)/3/256.
    coder = NgramCoder.fit([document("abab")], order=2)
    p_a, p_b = 1 / 3 + 0.5 / 256, 0.5 / 3 + 0.5 / 256
    after_begin = coder.next_byte(b"")
    assert after_begin[ord("a")] == pytest.approx(0.5 + 0.5 * p_a, abs=1e-15)
    after_a = coder.next_byte(b"a")
    assert after_a[ord("b")] == pytest.approx((2 - 1) / 2 + 1 / 2 * p_b, abs=1e-15)
    assert after_a[ord("z")] == pytest.approx(1 / 2 * 0.5 / 256, abs=1e-15)


def test_nothing_crosses_documents():
    coder = NgramCoder.fit([document(english(100, 1)), document(english(100, 2))])
    alone = [next(coder.code_lengths([document(t)])) for t in ("the of", "zzz", "")]
    together = list(coder.code_lengths([document("the of"), document("zzz"), document("")]))
    assert [c.bits for c in together] == pytest.approx([c.bits for c in alone], rel=1e-14)
    assert together[2].bits == 0
    halves = NgramCoder.fit([document("abc"), document("def")], order=2)
    # No document had d after c, so d is no likelier there than by itself.
    assert halves.next_byte(b"xc")[ord("d")] == pytest.approx(halves.next_byte(b"xx")[ord("d")])


def test_pieces_of_a_long_document_change_nothing(monkeypatch):
    baseline = [document(english(400)), document("a"), document(english(50, 4))]
    text = [document(english(300, 5)), document("b"), document(english(9, 7))]
    whole = NgramCoder.fit(baseline)
    expected = [c.bits for c in whole.code_lengths(text)]
    by_byte = whole.byte_bits(text[0])
    monkeypatch.setattr(grams_module.batches, "__kwdefaults__", {"lead": 0, "most_bytes": 97})
    pieces = NgramCoder.fit(baseline)
    for m in range(2, 7):
        np.testing.assert_array_equal(pieces.model.plain[m].probability, whole.model.plain[m].probability)
        np.testing.assert_array_equal(pieces.model.begin[m].keys, whole.model.begin[m].keys)
    assert [c.bits for c in pieces.code_lengths(text)] == pytest.approx(expected, rel=1e-13)
    np.testing.assert_array_equal(pieces.byte_bits(text[0]), by_byte)
    assert pieces.settings == whole.settings


def test_learns():
    coder = NgramCoder.fit([document(english(20_000))])
    [known] = coder.code_lengths([document(english(2_000, seed=3))])
    # 22 words drawn alike: log2(22) bits a word and its space is the entropy of the source.
    words = english(2_000, seed=3).count(" ") + 1
    assert math.log2(22) * words < known.bits < 1.02 * math.log2(22) * words


def test_settings_name_the_baseline_text():
    one, other = NgramCoder.fit([document("a")]), NgramCoder.fit([document("b")])
    assert one.settings != other.settings
    assert one.settings == NgramCoder.fit([document("a", name="another")]).settings
    assert one.name == "kneser-ney-6"


def test_discounts_fall_back_where_out_of_range():
    # n1..n4 = 1, 1, 5, 1: D2 = 2 - 3 · (1/3) · 5/1 is negative.
    assert discounts(np.array([1, 2, 3, 3, 3, 3, 3, 4])) == (0.5, 1.0, 1.5)


@pytest.mark.parametrize("baseline", [[], [""], ["", ""]])
def test_no_baseline_text(baseline):
    with pytest.raises(CoderError, match="no bytes"):
        NgramCoder.fit([document(t) for t in baseline])


@pytest.mark.parametrize("order", [0, 9, -1])
def test_order_out_of_range(order):
    with pytest.raises(UsageError, match="1 to 8"):
        NgramCoder.fit([document("a")], order=order)
