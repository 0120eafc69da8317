"""Match lengths and entropy rates: against brute force, and on sources whose rate is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.errors import CorpusError, UsageError
from kbit.information.entropy_rate import entropy_rate, rate_estimators, rates_of
from kbit.information.match_length import match_lengths, match_terms
from kbit.information.units import numbered, unspaced_share, words

N = 10_000
# Source -> its entropy rate, then 1 / mean(L / log2 i) and mean(log2 i / L) at 10,000 symbols.
SOURCES = {
    "uniform-27": (math.log2(27), 3.73, 3.82),
    "bernoulli-0.1": (0.469, 0.403, 0.476),
    "markov-stay-0.9": (0.469, 0.425, 0.501),
}


def source(name: str, n: int = N, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if name == "uniform-27":
        return rng.integers(0, 27, n)
    if name == "bernoulli-0.1":
        return (rng.random(n) < 0.1).astype(np.int64)
    return np.cumsum(rng.random(n) > 0.9) % 2


def as_text(symbols: np.ndarray) -> str:
    return "".join(chr(97 + i) for i in symbols)


def slow_match_lengths(symbols: list[int]) -> list[int]:
    found = []
    for i in range(len(symbols)):
        longest = 0
        for j in range(i):
            same = 0
            while i + same < len(symbols) and symbols[j + same] == symbols[i + same]:
                same += 1
            longest = max(longest, same)
        found.append(longest + 1)
    return found


@given(st.lists(st.integers(0, 3), max_size=60))
def test_match_lengths_are_those_of_a_plain_search(symbols):
    assert match_lengths(np.array(symbols, dtype=np.int64)).tolist() == slow_match_lengths(symbols)


def test_match_lengths_of_one_symbol_repeated_and_of_none():
    assert match_lengths(np.zeros(1000, dtype=np.int64)).tolist() == [1, *range(1000, 1, -1)]
    assert match_lengths(np.zeros(0, dtype=np.int64)).tolist() == []
    with pytest.raises(UsageError, match="at most"):
        match_lengths(np.zeros((1 << 22) + 1, dtype=np.int64))


@pytest.mark.parametrize("name", SOURCES)
def test_match_length_estimates_as_measured_elsewhere(name):
    _, inverse, mean = SOURCES[name]
    draws = [match_terms(source(name, seed=seed)) for seed in range(8)]
    ours = [1 / np.mean(lengths / logs) for lengths, logs in draws]
    theirs = [np.mean(logs / lengths) for lengths, logs in draws]
    # The reference is one draw; ours spread as this much.
    for values, reference in ((ours, inverse), (theirs, mean)):
        assert abs(np.mean(values) - reference) < 3.5 * np.std(values, ddof=1) + 0.005


@pytest.mark.parametrize("name", SOURCES)
def test_block_entropies_find_the_rate(name):
    true = SOURCES[name][0]
    found = entropy_rate(as_text(source(name)), "block-2")
    assert found.low <= true <= found.high
    assert found.high - found.low < 0.06
    single = entropy_rate(as_text(source(name)), "block-1").bits_per_symbol
    # Single symbols of the Markov source look fair; the other sources have no memory.
    expected = 1.0 if name.startswith("markov") else true
    assert single == pytest.approx(expected, abs=0.02)


def test_intervals_cover_as_often_as_they_say():
    true = SOURCES["markov-stay-0.9"][0]
    found = [entropy_rate(as_text(source("markov-stay-0.9", 2000, seed)), "block-2") for seed in range(200)]
    assert 0.90 <= np.mean([r.low <= true <= r.high for r in found]) <= 0.99


def test_every_estimator_tells_a_rate_and_warns_of_a_short_text():
    text = as_text(source("uniform-27", 300))
    for row in rate_estimators():
        found = entropy_rate(text, row.name)
        assert 0 < found.bits_per_symbol < 8.6, row.name
        assert found.low < found.bits_per_symbol < found.high
        if row.kind == "match" or row.name in ("block-2", "block-3"):
            assert found.warning is not None, row.name
    fair = as_text(source("bernoulli-0.1"))
    assert entropy_rate(fair, "block-1").warning is None


def test_units_and_what_they_cost():
    text = "天地玄黄" * 40
    by_byte, by_character = (entropy_rate(text, "block-1", unit=u) for u in ("byte", "character"))
    assert (by_byte.symbols, by_character.symbols) == (480, 160)
    assert by_character.bits_per_symbol == pytest.approx(2.0, abs=0.01)
    assert by_character.bits_per_byte == pytest.approx(2 / 3, abs=0.01)
    assert words("红楼梦 and the 3 rest") == ["红", "楼", "梦", "and", "the", "3", "rest"]
    assert words("ภาษาไทย")[0] == "ภ"
    assert unspaced_share("红楼 a b") == 0.5
    assert numbered("é", "byte").tolist() == [195, 169]


def test_a_coder_gives_the_code_length_itself():
    from kbit.coders import UnigramCoder
    from kbit.corpus import Document

    text = as_text(source("bernoulli-0.1"))
    bits = next(UnigramCoder().code_lengths([Document(name="x", text=text)])).bits
    assert entropy_rate(text, "unigram").bits_per_symbol == pytest.approx(bits / N, rel=1e-12)
    assert rates_of([text, text[:100]], "unigram")[0] == pytest.approx(bits)
    whole = entropy_rate(text, "match-length-mean")
    assert rates_of([text], "match-length-mean")[0] == pytest.approx(whole.bits_per_byte * N)


def test_errors_name_what_to_do():
    with pytest.raises(UsageError, match="did you mean 'match-length-mean'"):
        entropy_rate("x" * 100, "match-length-meen")
    with pytest.raises(UsageError, match="block-1 to block-8"):
        entropy_rate("x" * 100, "block-9")
    for text in ("", "x"):
        with pytest.raises(CorpusError, match="at least 16"):
            entropy_rate(text)
    assert entropy_rate("x" * 100, "block-1").bits_per_symbol == 0.0
