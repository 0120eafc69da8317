"""Compressing and giving back, with every coder that predicts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.coders import ContextTreeCoder, KtCoder, LanguageModelCoder, NgramCoder, UniformCoder, UnigramCoder
from kbit.coders.compressed import coder_identity, compress, decompress
from kbit.coders.predictor import PredictiveCoder
from kbit.coders.range_coder import SCALE, RangeDecoder, RangeEncoder, cumulative_frequencies
from kbit.coders.token_ngram import TokenNgramCoder
from kbit.corpus import Document
from kbit.errors import CoderError

BASELINE = [Document(name="b", text="the cat sat on the mat, and the dog 你好 sat on the cat. " * 20)]
TEXT = "the dog sat on the cat and the mat, 你好\r\n" * 12


@pytest.fixture(scope="module")
def coders(tiny):
    model, tokenizer = tiny.model(), tiny.tokenizer()
    small = LanguageModelCoder(model, tokenizer, name="m", context=24, stride=8)
    found = [
        UniformCoder(),
        UnigramCoder(),
        KtCoder(2),
        ContextTreeCoder(depth=3),
        ContextTreeCoder.fit(BASELINE, depth=3),
        NgramCoder.fit(BASELINE, order=1),
        NgramCoder.fit(BASELINE),
        small,
        LanguageModelCoder(model, tokenizer, name="m", context=16, stride=16, repeat_prefix=False),
        TokenNgramCoder.fit(BASELINE, tokenizer, order=3),
    ]
    return {f"{i} {coder.name}": coder for i, coder in enumerate(found)}


NAMES = ["0 uniform", "1 unigram", "2 kt-2", "3 ctw-3", "4 ctw-3-primed", "5 kneser-ney-1", "6 kneser-ney-6"]
MODELS = ["7 m", "8 m", "9 kneser-ney-3-tokens"]


@pytest.mark.parametrize("name", [*NAMES, *MODELS])
def test_gives_the_text_back_within_a_thousandth_and_sixteen_bytes(coders, name):
    coder = coders[name]
    assert isinstance(coder, PredictiveCoder)
    for text in (TEXT, "", "x", "中"):
        [lengths] = coder.code_lengths([Document(name="d", text=text)])
        done = compress(coder, text.encode())
        assert len(done.content) <= 1.001 * lengths.bits / 8 + 16
        assert len(done.content) >= lengths.bits / 8 * 0.999 + done.header_bytes - 1
        assert decompress(coder, done.content) == text.encode()
        assert done.code_bits == pytest.approx(lengths.bits, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(content=st.binary(max_size=60))
def test_coders_over_bytes_take_any_bytes(coders, name, content):
    coder = coders[name]
    assert decompress(coder, compress(coder, content).content) == content


@pytest.mark.parametrize("name", [*NAMES, *MODELS])
def test_what_can_follow_sums_to_one_everywhere(coders, name):
    coder = coders[name]
    predictor = coder.predictor()
    for symbol in coder.to_symbols(TEXT.encode()[:60]):
        probability = predictor.probabilities()
        assert probability.sum() == pytest.approx(1, abs=1e-9)
        assert probability.min() >= 0
        predictor.advance(symbol)


@pytest.mark.parametrize("name", ["6 kneser-ney-6", "4 ctw-3-primed", "7 m"])
def test_damaged_files_are_refused(coders, name):
    coder = coders[name]
    content = compress(coder, TEXT.encode()[:80]).content
    rng = np.random.default_rng(0)
    broken = [content[:cut] for cut in (0, 2, 5, 11, 12, 13, len(content) // 2, len(content) - 1)]
    broken += [content + b"\0", content + b"x", b"PK" + content[2:], content[:3] + b"\x07" + content[4:]]
    for place in rng.choice(len(content), 12, replace=False):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        broken.append(bytes(flipped))
    for some in broken:
        with pytest.raises(CoderError):
            decompress(coder, some)


def test_a_count_that_never_ends_does_not_run_for_ever(coders):
    content = compress(coders["0 uniform"], b"abc").content
    huge = content[:12] + b"\xff" * 8 + b"\x7f" + content[13:]
    with pytest.raises(CoderError, match="damaged"):
        decompress(coders["0 uniform"], huge)


def test_another_model_is_refused(coders, tiny):
    content = compress(coders["7 m"], TEXT.encode()).content
    others = [
        LanguageModelCoder(tiny.model(seed=1), tiny.tokenizer(), name="m", context=24, stride=8),
        LanguageModelCoder(tiny.model(), tiny.tokenizer(), name="m", context=24, stride=9),
        coders["6 kneser-ney-6"],
    ]
    for other in others:
        with pytest.raises(CoderError, match="another coder made this file"):
            decompress(other, content)
    same = LanguageModelCoder(tiny.model(), tiny.tokenizer(), name="another name", context=24, stride=8)
    assert decompress(same, content) == TEXT.encode()


def test_identity_of_a_fitted_coder_is_that_of_its_text():
    other = NgramCoder.fit([Document(name="b", text="something else")])
    assert coder_identity(NgramCoder.fit(BASELINE)) == coder_identity(NgramCoder.fit(BASELINE))
    assert coder_identity(NgramCoder.fit(BASELINE)) != coder_identity(other)


def test_a_k_bit_model_gives_the_text_back(tiny, tmp_path):
    from kbit.models import load, load_tokenizer
    from kbit.quantize import quantize_model

    quantize_model(tiny.folder(tmp_path / "model"), tmp_path / "k", format="int3:b32")
    coder = LanguageModelCoder(load(tmp_path / "k"), load_tokenizer(tmp_path / "k"), name="k")
    [lengths] = coder.code_lengths([Document(name="d", text=TEXT)])
    content = compress(coder, TEXT.encode()).content
    assert len(content) <= 1.001 * lengths.bits / 8 + 16
    assert decompress(coder, content) == TEXT.encode()


def test_a_tokeniser_that_loses_bytes_is_refused(tiny):
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Lowercase()
    coder = LanguageModelCoder(tiny.model(), tokenizer, name="m")
    with pytest.raises(CoderError, match=r"loses 1 of the text's 3 bytes"):
        compress(coder, b"aBc")


def test_a_language_model_codes_text_only(coders):
    with pytest.raises(CoderError, match="not UTF-8 at byte offset 2"):
        compress(coders["7 m"], b"ab\xff")


def test_a_model_without_numbers_is_an_error(tiny):
    model = tiny.model()
    with torch.no_grad():
        model.lm_head.weight[:] = float("nan")
    coder = LanguageModelCoder(model, tiny.tokenizer(), name="m")
    with pytest.raises(CoderError, match="not numbers"):
        compress(coder, b"abc")


# --- the arithmetic coder


def test_frequencies_are_whole_and_complete():
    for probability in (np.full(7, 1 / 7), np.array([1.0, 0, 0]), np.array([1e-300, 1 - 1e-16, 1e-30])):
        cumulative = cumulative_frequencies(probability)
        assert cumulative[0] == 0
        assert cumulative[-1] == SCALE
        assert np.diff(cumulative).min() >= 1
        # No symbol costs noticeably more than its own bits, down to what 32 bits can tell apart.
        seen = probability > 2.0**-20
        cost = -np.log2(np.diff(cumulative)[seen] / SCALE)
        assert (cost <= -np.log2(probability[seen]) + 1e-5).all()
    with pytest.raises(CoderError, match="sum to"):
        cumulative_frequencies(np.array([0.5, float("nan")]))
    with pytest.raises(CoderError, match="sum to"):
        cumulative_frequencies(np.array([0.5, 0.2]))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 5, 1 << 20, 1 << 31, SCALE - 1, SCALE - 2]), max_size=60), st.randoms()
)
def test_intervals_of_any_shape_come_back(widths, random):
    # Very likely and very unlikely symbols, at either end: where carries run far back.
    steps = []
    for width in widths:
        start = random.choice([0, (SCALE - width) // 2, SCALE - width])
        steps.append((start, width))
    encoder = RangeEncoder()
    for start, width in steps:
        encoder.encode(start, width)
    content = encoder.finish()
    cost = sum(32 - math.log2(width) for _, width in steps)
    assert 8 * len(content) <= cost + 8 + 1e-6 * len(steps)
    decoder = RangeDecoder(content)
    for start, width in steps:
        edges = np.array(sorted({0, start, start + width, SCALE}))
        assert edges[decoder.decode(edges)] == start
