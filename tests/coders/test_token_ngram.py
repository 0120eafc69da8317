"""Token n-grams against the byte n-gram, and both against KenLM."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.coders import NgramCoder
from kbit.coders.arpa import words_of_bytes, write_arpa
from kbit.coders.compressed import compress, decompress
from kbit.coders.token_grams import fit_tokens
from kbit.coders.token_ngram import TokenNgramCoder
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError

WORDS = "the of and to a in that it is was he for on are with as his they at be this from"


def document(text: str) -> Document:
    return Document(name="d", text=text)


def english(n: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS.split(" "), n))


texts = st.lists(st.text(alphabet="abc\né", max_size=40), min_size=1, max_size=6).filter(lambda ts: any(ts))


@settings(max_examples=60, deadline=None)
@given(texts, st.text(alphabet="abcdé", max_size=25), st.integers(1, 8))
def test_over_bytes_it_is_the_byte_ngram(baseline, text, order):
    ours = fit_tokens([list(t.encode()) for t in baseline], vocabulary=256, order=order)
    theirs = NgramCoder.fit([document(t) for t in baseline], order=order)
    assert ours.discounts == theirs.model.discounts
    bits = -np.log2(ours.probability(np.array(list(text.encode()), dtype=np.int64)))
    np.testing.assert_allclose(bits, theirs.byte_bits(document(text)) if text else [], rtol=1e-9)


def test_pieces_change_nothing(monkeypatch):
    baseline = [list(english(200, seed).encode()) for seed in range(3)]
    whole = fit_tokens(baseline, vocabulary=256, order=5)
    monkeypatch.setattr("kbit.coders.token_grams.PLACES_AT_ONCE", 61)
    pieces = fit_tokens(baseline, vocabulary=256, order=5)
    for one, other in zip(whole.levels, pieces.levels, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.probability, other.probability)
        np.testing.assert_array_equal(one.backoff, other.backoff)


@pytest.fixture(scope="module")
def coder(tiny):
    return TokenNgramCoder.fit([document(english(400, s)) for s in range(3)], tiny.tokenizer(), order=4)


def test_what_can_follow_sums_to_one_and_is_what_is_charged(coder):
    text = english(15, 9) + " 你好 unseen"
    ids, predictor = coder.to_symbols(text.encode()), coder.predictor()
    bits = []
    for token in ids:
        probability = predictor.probabilities()
        assert probability.sum() == pytest.approx(1, abs=1e-12)
        assert probability.min() > 0
        bits.append(-math.log2(probability[token]))
        predictor.advance(token)
    np.testing.assert_allclose(bits, coder.token_bits(ids), rtol=1e-10)
    [lengths] = coder.code_lengths([document(text)])
    assert lengths.bits == pytest.approx(sum(bits))
    assert (lengths.tokens, lengths.bytes, lengths.bytes_lost) == (len(ids), len(text.encode()), 0)


def test_gives_the_text_back(coder):
    text = (english(30, 7) + "\r\n你好").encode()
    packed = compress(coder, text)
    assert decompress(coder, packed.content) == text
    assert len(packed.content) <= 1.001 * packed.code_bits / 8 + 16


def test_settings_and_empty_documents(coder, tiny):
    assert coder.name == "kneser-ney-4-tokens"
    other = TokenNgramCoder.fit([document("another")], tiny.tokenizer(), order=4)
    assert other.settings["tokenizer"] == coder.settings["tokenizer"]
    assert other.settings["baseline_text"] != coder.settings["baseline_text"]
    [nothing] = coder.code_lengths([document("")])
    assert (nothing.bits, nothing.tokens) == (0, 0)
    with pytest.raises(CoderError, match="no tokens"):
        TokenNgramCoder.fit([document("")], tiny.tokenizer())
    for order in (0, 9):
        with pytest.raises(UsageError, match="1 to 8"):
            TokenNgramCoder.fit([document("a")], tiny.tokenizer(), order=order)


def test_a_tokeniser_that_loses_bytes_is_told(tiny):
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Lowercase()
    coder = TokenNgramCoder.fit([document("abc")], tokenizer, order=2)
    [lengths] = coder.code_lengths([document("aBc")])
    assert lengths.bytes_lost == 1


def kenlm_bits(path, sentence: str) -> list[float]:
    kenlm = pytest.importorskip("kenlm", reason="needs kenlm")
    model = kenlm.Model(str(path))
    return [-p / math.log10(2) for p, _, _ in model.full_scores(sentence, bos=True, eos=False)]


@pytest.mark.parametrize("order", [2, 3, 6])
def test_kenlm_scores_the_byte_ngram_alike(tmp_path, order):
    coder = NgramCoder.fit([document(english(300, s) + "\n你好") for s in range(3)], order=order)
    write_arpa(tmp_path / "bytes.arpa", coder.model)
    for text in (english(40, 9) + " what was not seen, 你好\x00", "x", "a"):
        theirs = kenlm_bits(tmp_path / "bytes.arpa", words_of_bytes(text.encode()))
        np.testing.assert_allclose(coder.byte_bits(document(text)), theirs, atol=1e-5)


def test_kenlm_scores_the_token_ngram_alike(tmp_path, coder):
    write_arpa(tmp_path / "tokens.arpa", coder.model)
    ids = coder.to_symbols((english(40, 9) + " what was not seen").encode())
    theirs = kenlm_bits(tmp_path / "tokens.arpa", " ".join(map(str, ids)))
    np.testing.assert_allclose(coder.token_bits(ids), theirs, atol=1e-5)


def test_an_arpa_file_says_how_many_grams_it_has(tmp_path):
    coder = NgramCoder.fit([document("abab")], order=3)
    write_arpa(tmp_path / "x.arpa", coder.model)
    lines = (tmp_path / "x.arpa").read_text().splitlines()
    assert lines[0] == "\\data\\"
    assert lines[-1] == "\\end\\"
    for m in (1, 2, 3):
        [told] = [int(line.split("=")[1]) for line in lines if line.startswith(f"ngram {m}=")]
        start = lines.index(f"\\{m}-grams:")
        assert lines[start + told + 1] == ""
        assert all(len(line.split("\t")[1].split(" ")) == m for line in lines[start + 1 : start + told + 1])
