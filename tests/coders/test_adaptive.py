"""Adaptive coders against their definitions, and against sources whose entropy is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.coders import ContextTreeCoder, KtCoder, UnigramCoder
from kbit.coders.kt import kt_sequence_bits
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError

BERNOULLI_TENTH = 0.4689955935892812  # -.1 log2 .1 - .9 log2 .9
SYMBOLS = 1_000_000


def document(text: str) -> Document:
    return Document(name="d", text=text)


def bits(coder, text: str) -> float:
    [lengths] = coder.code_lengths([document(text)])
    return lengths.bits


# --- Krichevsky-Trofimov of any order


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab中", max_size=30), st.sampled_from([0, 1, 2, 3, 6, 7, 9, 32]))
def test_kt_is_the_product_of_its_steps(text, order):
    content, seen, expected = text.encode(), {}, 0.0
    for i, byte in enumerate(content):
        context = content[max(0, i - order) : i] + b"^" * max(0, order - i) if order else b""
        counts = seen.setdefault((context, min(i, order)), [0] * 256)
        expected -= math.log2((counts[byte] + 0.5) / (sum(counts) + 128))
        counts[byte] += 1
    assert bits(KtCoder(order), text) == pytest.approx(expected, rel=1e-10, abs=1e-9)


def test_kt_of_order_zero_is_the_unigram():
    text = "the cat sat on the mat"
    assert bits(KtCoder(0), text) == pytest.approx(bits(UnigramCoder(), text), rel=1e-12)


def test_kt_learns_a_markov_source():
    rng = np.random.default_rng(1)
    stays = (np.cumsum(rng.random(SYMBOLS) < 0.1) % 2).astype(np.uint8)
    for order in (1, 3):
        assert kt_sequence_bits(stays, order, symbols=2) / SYMBOLS == pytest.approx(BERNOULLI_TENTH, rel=0.01)
    # Without context it sees a fair coin.
    assert kt_sequence_bits(stays, 0, symbols=2) / SYMBOLS == pytest.approx(1, rel=0.01)
    # As bytes, among 256 that might have come, the two contexts still cost less than one in a hundred.
    assert kt_sequence_bits(stays, 1) / SYMBOLS == pytest.approx(BERNOULLI_TENTH, rel=0.01)


def test_kt_at_ten_thousand_symbols_is_as_measured_elsewhere():
    """Order 0 on coins of a tenth .4675 bits, order 3 on a Markov source .4764: one draw each."""
    for order, markov, reference in ((0, False, 0.4675), (3, True, 0.4764)):
        draws = []
        for seed in range(16):
            coins = np.random.default_rng(seed).random(10_000) < 0.1
            symbols = (np.cumsum(coins) % 2 if markov else coins).astype(np.uint8)
            draws.append(kt_sequence_bits(symbols, order, symbols=2) / 10_000)
        assert abs(np.mean(draws) - reference) < 2 * np.std(draws, ddof=1)
        assert np.std(draws, ddof=1) < 0.02
        # A code is never below the entropy in the mean.
        assert np.mean(draws) > BERNOULLI_TENTH - 2 * np.std(draws, ddof=1) / 4


@pytest.mark.parametrize("order", [-1, 33])
def test_kt_order_out_of_range(order):
    with pytest.raises(UsageError, match="0 to 32"):
        KtCoder(order)


# --- context-tree weighting


def kt_block(zeros: int, ones: int) -> float:
    """Probability of a block of bits under the estimator, in whatever order they come."""
    p, total = 1.0, 0
    for count in (zeros, ones):
        for i in range(count):
            p *= (i + 0.5) / (total + 1)
            total += 1
    return p


def weighted(samples: list[tuple[tuple[int, ...], int]], depth: int) -> float:
    """P_w of a node from its definition: half its own estimate, half the product of its children's."""
    own = kt_block(sum(b == 0 for _, b in samples), sum(b for _, b in samples))
    if depth == 0:
        return own
    children: dict[int, list] = {}
    for context, bit in samples:
        children.setdefault(context[0], []).append((context[1:], bit))
    return 0.5 * own + 0.5 * math.prod(weighted(some, depth - 1) for some in children.values())


def by_definition(content: bytes, depth: int) -> float:
    """Bits of a text: for each of the 255 decisions, one weighted tree over all that was decided there."""
    decisions: dict[str, list] = {}
    for i, byte in enumerate(content):
        context = tuple(content[i - 1 - d] if i - 1 - d >= 0 else 256 for d in range(depth))
        spelled = f"{byte:08b}"
        for b in range(8):
            decisions.setdefault(spelled[:b], []).append((context, int(spelled[b])))
    return -sum(math.log2(weighted(samples, depth)) for samples in decisions.values())


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="abé", max_size=25), st.integers(0, 4))
def test_context_trees_equal_their_definition(text, depth):
    expected = by_definition(text.encode(), depth)
    assert bits(ContextTreeCoder(depth=depth), text) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_context_trees_find_the_entropy_of_known_sources():
    rng = np.random.default_rng(0)
    coins = rng.random(SYMBOLS) < 0.1
    third = np.zeros(SYMBOLS, dtype=np.int64)  # a bit that is its third-last with probability 0.9
    for start in range(3):
        third[start::3] = np.cumsum(coins[start::3]) % 2
    sources = {
        "bernoulli": (coins.astype(np.int64), BERNOULLI_TENTH),
        "order three": (third, BERNOULLI_TENTH),
        "four of equal chance": (rng.integers(0, 4, SYMBOLS), 2.0),
    }
    for name, (symbols, entropy) in sources.items():
        text = (symbols + ord("a")).astype(np.uint8).tobytes().decode()
        assert bits(ContextTreeCoder(depth=3), text) / SYMBOLS == pytest.approx(entropy, rel=0.01), name


def test_what_is_learnt_from_a_baseline_text_is_kept_and_a_document_forgotten():
    baseline = [document("the cat sat on the mat. " * 20), document("a dog. " * 20)]
    coder = ContextTreeCoder.fit(baseline, depth=4)
    first = bits(coder, "the dog sat on the mat")
    assert first < 0.5 * bits(ContextTreeCoder(depth=4), "the dog sat on the mat")
    bits(coder, "the dog sat on the mat " * 3)
    bits(coder, "entirely different things, and many of them: " * 300)  # remembered as a whole table
    assert bits(coder, "the dog sat on the mat") == first
    # The same text after the baseline in one piece, but for the begin symbols.
    alone = ContextTreeCoder(depth=4)
    tree = alone._tree
    for text in [*baseline, document("the dog sat on the mat")]:
        tree.begin()
        last = tree.code(text.text.encode()).sum()
    assert first == pytest.approx(last, rel=1e-12)


def test_a_full_table_is_still_a_code():
    rng = np.random.default_rng(2)
    text = rng.integers(97, 123, 3000).astype(np.uint8).tobytes().decode()
    small, large = ContextTreeCoder(depth=3, max_nodes=500), ContextTreeCoder(depth=3)
    predictor = small.predictor()
    cost = 0.0
    for byte in text.encode()[:300]:
        probability = predictor.probabilities()
        assert probability.sum() == pytest.approx(1, abs=1e-12)
        cost -= math.log2(probability[byte])
        predictor.advance(byte)
    assert predictor.tree.nodes <= 500
    assert bits(small, text[:300]) == pytest.approx(cost, rel=1e-10)
    assert bits(small, text) != bits(large, text)


def test_depth_and_room_out_of_range():
    for depth in (-1, 33):
        with pytest.raises(UsageError, match="0 to 32"):
            ContextTreeCoder(depth=depth)
    with pytest.raises(UsageError, match="max_nodes is 10"):
        ContextTreeCoder(depth=3, max_nodes=10)


@pytest.mark.parametrize("baseline", [[], [""]])
def test_context_trees_without_baseline_text(baseline):
    with pytest.raises(CoderError, match="no bytes"):
        ContextTreeCoder.fit([document(t) for t in baseline])


def test_bits_of_bytes_sum_to_the_code_length():
    for coder in (ContextTreeCoder(depth=3), ContextTreeCoder.fit([document("abcabc")], depth=3)):
        text = "abcab 你好 abc"
        assert coder.byte_bits(document(text)).sum() == pytest.approx(bits(coder, text), rel=1e-12)


def test_settings_tell_coders_apart():
    coders = [
        KtCoder(0),
        KtCoder(1),
        ContextTreeCoder(depth=3),
        ContextTreeCoder(depth=4),
        ContextTreeCoder.fit([document("a")], depth=3),
        ContextTreeCoder.fit([document("b")], depth=3),
    ]
    for one, other in itertools.combinations(coders, 2):
        assert (type(one), one.settings) != (type(other), other.settings)
