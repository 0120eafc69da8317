"""Uniform bytes, the adaptive unigram, sums of code lengths, and the table of baselines."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.coders import (
    CODERS,
    HEADLINE,
    CodeLengths,
    Coder,
    UniformCoder,
    UnigramCoder,
    baseline,
    listing,
    total,
)
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError

EXTRAS = {"zstd": "zstandard", "ppmd": "pyppmd"}


def lengths(coder: Coder, *texts: str) -> list[CodeLengths]:
    return list(coder.code_lengths([Document(name=f"d{i}", text=t) for i, t in enumerate(texts)]))


def test_uniform_is_eight_bits_a_byte():
    [english, chinese, empty] = lengths(UniformCoder(), "abc", "中文", "")
    assert (english.bits, chinese.bits, empty.bits) == (24.0, 48.0, 0.0)
    assert (chinese.bytes, chinese.characters, chinese.tokens) == (6, 2, 6)
    assert chinese.bits_per_character == 24
    assert empty.bits_per_byte is None
    assert empty.bits_per_character is None


@given(st.text(alphabet="ab中\x00", max_size=60))
def test_unigram_is_the_product_of_its_steps(text):
    bits, seen = 0.0, [0] * 256
    for i, byte in enumerate(text.encode()):
        step = [(n + 0.5) / (i + 128) for n in seen]
        assert sum(step) == pytest.approx(1, abs=1e-12)
        bits -= math.log2(step[byte])
        seen[byte] += 1
    assert lengths(UnigramCoder(), text)[0].bits == pytest.approx(bits, rel=1e-10, abs=1e-10)


def test_unigram_starts_anew_in_each_document():
    one, other = lengths(UnigramCoder(), "aaaa", "aaaa")
    assert one.bits == other.bits


def test_unigram_of_a_fair_coin():
    # Entropy 1 bit a byte, and the price of learning 256 frequencies: about 255/2 log2(n/256) + a constant.
    n = 1 << 16
    bits = lengths(UnigramCoder(), "ab" * (n // 2))[0].bits
    assert n < bits < n + 127.5 * math.log2(n)


def test_total_adds_everything():
    parts = [
        CodeLengths(document=str(i), bits=0.1, bytes=3, characters=2, tokens=1, bytes_lost=i)
        for i in range(10)
    ]
    whole = total(parts)
    assert whole == CodeLengths(document="total", bits=1.0, bytes=30, characters=20, tokens=10, bytes_lost=45)
    assert not whole.lossless
    assert parts[0].lossless
    assert total([]).bits == 0


@pytest.mark.parametrize("name", [*CODERS, "kneser-ney-3", "kt-0", "ctw-12", "ctw-2-primed"])
def test_every_baseline_is_made_by_name(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason="needs kbit[compressors]")
    coder = baseline(name, [Document(name="b", text="some text")])
    assert isinstance(coder, Coder)
    assert coder.name == name
    assert coder.version >= 1
    assert lengths(coder, "text, and more of it")[0].bits > 0


def test_listing_has_one_headline():
    rows = listing()
    assert [row["name"] for row in rows if row["headline"]] == [HEADLINE] == ["kneser-ney-6"]
    assert {row["name"] for row in rows} == set(CODERS)


@pytest.mark.parametrize("name", ["kneser-nei-6", "kneser-ney-9", "kt-33", "ctw-33-primed", ""])
def test_unknown_baseline(name):
    with pytest.raises(UsageError, match="kbit ls coders"):
        baseline(name)


def test_baseline_without_its_text():
    with pytest.raises(CoderError, match="--baseline-text"):
        baseline(HEADLINE)
    assert baseline("uniform").name == "uniform"
