"""Comparisons of texts: known answers of each figure, and what is said of halves, copies and repetition."""

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest

from kbit.coders import NgramCoder, UnigramCoder
from kbit.corpus import Document
from kbit.errors import CorpusError, UsageError
from kbit.information.generated.bits import conditional_bits
from kbit.information.generated.compare import compare, repetitive
from kbit.information.generated.continuation import Continuation, of_documents, read_continuations
from kbit.information.generated.figure import Options
from kbit.information.generated.novelty import TrainingGrams
from kbit.information.generated.references import References, sliding_windows
from kbit.information.generated.repetition import (
    distinct_grams,
    diversity,
    diversity_of,
    repetition,
    repetition_sums,
)
from kbit.information.generated.variety import (
    bleu_metric,
    distinct,
    fixed_samples,
    over_samples,
    self_bleu,
    zipf_exponent,
)
from kbit.information.resample import difference, estimate, grouped
from kbit.information.units import split

SAID = "the hen is in a tin and other hens eat rest of tea then sit near an inn here"
WORDS = tuple(SAID.split(" "))
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"


def sentences(seed: int, texts: int = 40, length: int = 60, words=WORDS, space: str = " ") -> list[str]:
    """Texts of one source: words drawn with Zipf's frequencies."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, len(words) + 1)
    return [space.join(rng.choice(words, size=length, p=p / p.sum())) for _ in range(texts)]


def texts_of(values, seed=None, bits=None) -> list[Continuation]:
    return [
        Continuation(name=f"t{i}", source=f"t{i}", prompt="", text=v, seed=seed,
                     decoding_bits=bits, model_bits=bits)
        for i, v in enumerate(values)
    ]  # fmt: skip


TRAIN = [Document(name=f"d{i}", text=t) for i, t in enumerate(sentences(99, 60))]
QUICK = Options(resamples=300, window=128, self_bleu_texts=8, estimator="unigram")


@pytest.fixture(scope="module")
def scorer() -> NgramCoder:
    return NgramCoder.fit(TRAIN, order=4)


def test_two_halves_of_one_source_are_not_apart(scorer):
    """95% intervals of figures whose true difference is nothing cover it."""
    missed = 0
    for seed in range(12):
        one, other = texts_of(sentences(2 * seed)), texts_of(sentences(2 * seed + 1))
        other = [replace(c, source=f"other {c.source}") for c in other]
        found = compare(one, other, scorer=scorer, train=TRAIN, options=replace(QUICK, seed=seed))
        gap = found.figures["cross_entropy"].difference
        missed += not gap.low <= 0 <= gap.high
        assert not repetitive(found.figures)
        for name in ("diversity", "novelty_4", "entropy_rate", "distinct_1", "zipf"):
            apart = found.figures[name].difference
            assert abs(apart.value) < 5 * apart.standard_error + 1e-9, name
    assert missed <= 2


def test_repetition_is_flagged_and_its_entropy_reduction_is_no_merit(scorer):
    human = texts_of(sentences(1))
    ours = texts_of([t[:40] * 8 for t in sentences(2)], seed=0, bits=0.0)
    found = compare(ours, human, scorer=scorer, options=replace(QUICK, estimator="match-length-mean"))
    assert repetitive(found.figures)
    assert any("repeats itself" in w for w in found.warnings)
    assert any("that is no merit" in w and "entropy_reduction_random" in w for w in found.warnings)
    for kind in ("random", "shuffled"):
        apart = found.figures[f"entropy_reduction_{kind}"]
        assert apart.difference.low > 0
        # What is above the reference's order is below in entropy: the two differences are one.
        rate = found.figures["entropy_rate"].difference.value
        assert apart.difference.value == pytest.approx(-rate, abs=0.15)
        assert found.figures[f"whole_entropy_reduction_{kind}"].difference.value > 0
    calm = compare(human, human, scorer=scorer, options=QUICK)
    assert not any("repeats itself" in w or "merit" in w for w in calm.warnings)


def test_cross_entropy_gap_and_implausibility_are_sums(scorer):
    ours = [
        replace(c, source=f"p{i % 10}", seed=i % 2, decoding_bits=7.0 * i, model_bits=9.0 * i)
        for i, c in enumerate(texts_of(sentences(3, 20, 30)))
    ]
    human = [replace(c, source=f"p{i}") for i, c in enumerate(texts_of(sentences(4, 10, 30)))]
    unigram = UnigramCoder()
    found = compare(ours, human, scorer=scorer, generator=unigram, options=QUICK)
    bits = [c.bits for c in scorer.code_lengths([c.whole for c in ours])]
    theirs = [c.bits for c in scorer.code_lengths([c.whole for c in human])]
    size, their_size = sum(c.bytes for c in ours), sum(c.bytes for c in human)
    figures = found.figures
    assert found.settings["paired_by_prompt"]
    assert figures["cross_entropy"].generated.value == pytest.approx(sum(bits) / size)
    assert figures["cross_entropy"].difference.value == pytest.approx(
        sum(bits) / size - sum(theirs) / their_size
    )
    drawn = 7 * sum(range(20)) / size
    assert figures["decoding_entropy"].generated.value == pytest.approx(drawn)
    assert figures["implausibility"].generated.value == pytest.approx(sum(bits) / size - drawn)
    covered = sum(c.bits for c in unigram.code_lengths([c.whole for c in human])) / their_size
    assert figures["calibration"].difference.value == pytest.approx(drawn - covered)
    odd = sum(b for b, c in zip(bits, ours, strict=True) if c.seed == 1)
    odd /= sum(c.bytes for c in ours if c.seed == 1)
    assert figures["cross_entropy"].by_seed[1] == pytest.approx(odd)
    assert figures["cross_entropy"].spread_of_seeds > 0


def test_bits_after_a_prompt_are_those_of_both_less_those_of_the_prompt(scorer):
    texts = [
        Continuation(name="a", source="a", prompt="the hen is", text=" in the tin"),
        Continuation(name="b", source="a", prompt="the hen is", text=" in"),
        Continuation(name="c", source="c", prompt="", text="the hen is"),
    ]
    found = conditional_bits(scorer, texts)
    # A byte n-gram's bits add up along the text.
    whole = scorer.byte_bits(Document(name="x", text="the hen is in the tin"))
    assert found[0] == pytest.approx(whole[10:].sum())
    assert found[1] == pytest.approx(whole[10:13].sum())
    assert found[2] == pytest.approx(whole[:10].sum())


def test_repetition_against_counts_by_hand():
    assert [distinct_grams(list("abababab"), n) for n in (2, 3, 4)] == [(2, 7), (2, 6), (2, 5)]
    sums = repetition_sums(["x", "y"], [list("abababab"), list("abcd")])
    total = sums.columns.sum(axis=0)
    assert float(repetition(2)(total)) == pytest.approx(100 * (1 - 5 / 10))
    assert float(repetition(4)(total)) == pytest.approx(100 * (1 - 3 / 6))
    assert float(diversity(total)) == pytest.approx(5 / 10 * 4 / 8 * 3 / 6)
    # As published: human text, greedy decoding (Su et al. 2022).
    assert diversity_of([3.92, 0.88, 0.28]) == pytest.approx(0.950, abs=5e-4)
    assert diversity_of([69.21, 65.18, 62.05]) == pytest.approx(0.041, abs=5e-4)


def test_variety_against_known_values():
    assert distinct(1)(["a", "rose", "is", "a", "rose"]) == 3 / 5
    rng = np.random.default_rng(0)
    for s in (0.7, 1.0, 1.4):
        p = np.arange(1, 2001) ** -s
        drawn = rng.choice(2000, size=50_000, p=p / p.sum())
        assert zipf_exponent([str(i) for i in drawn]) == pytest.approx(s, abs=0.06)
    samples = fixed_samples([list("abcdefgh")] * 10, 20)
    assert [len(s) for s in samples.samples] == [20, 20, 20]
    found = over_samples(samples, distinct(1))
    assert found.value == pytest.approx(8 / 20)
    one = over_samples(fixed_samples([list("abcdefgh")], 8), distinct(1))
    assert (one.value, one.low, one.reason is not None) == (1.0, None, True)


@pytest.mark.skipif(importlib.util.find_spec("sacrebleu") is None, reason="needs sacrebleu")
def test_bleu_gives_the_values_of_its_authors():
    """Hypotheses, references and figures of sacrebleu's own tests (test/test_bleu.py)."""
    said = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = [
        ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
        ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
    ]
    for tokenizer, expected in (("13a", 48.530827), ("intl", 43.916235), ("none", 49.191957)):
        found = bleu_metric(tokenizer).corpus_score(said, references).score
        assert found == pytest.approx(expected, abs=1e-6), tokenizer


@pytest.mark.skipif(importlib.util.find_spec("sacrebleu") is None, reason="needs sacrebleu")
def test_self_bleu():
    same = self_bleu(["the hen is in the tin here"] * 4, count=4)
    assert same.estimate.value == pytest.approx(100.0)
    apart = self_bleu([f"{w} " * 8 for w in ("red", "tea", "hen", "tin")], count=4)
    assert apart.estimate.value < 5
    assert "tok:13a" in apart.signature
    assert "tok:zh" in self_bleu(["天地玄黄宇宙洪荒"] * 3, count=3).signature
    assert self_bleu(["a"], count=2) is None


def test_novelty_is_what_a_set_of_n_grams_says():
    train = [Document(name="a", text="the hen is in the tin"), Document(name="b", text="天地玄黄")]
    grams = TrainingGrams(train, (1, 2, 3))
    assert grams.novel(["the", "hen", "is", "out"], 2) == (1, 3)
    assert grams.novel(["the", "tin", "the", "hen"], 2) == (1, 3)
    assert grams.novel(list("天地黄"), 2) == (1, 2)
    assert grams.novel(["tin", "天"], 2) == (1, 1)  # no n-gram crosses from one document into the next
    assert grams.novel(["hen"], 2) == (0, 0)
    rng = np.random.default_rng(1)
    text = rng.integers(0, 9, 3000).astype(str).tolist()
    other = rng.integers(0, 12, 500).astype(str).tolist()
    known = {tuple(text[i : i + 3]) for i in range(len(text) - 2)}
    expected = sum(tuple(other[i : i + 3]) not in known for i in range(len(other) - 2))
    assert TrainingGrams([Document(name="x", text=" ".join(text))], (3,)).novel(other, 3) == (expected, 498)


def test_windows_and_references_keep_sizes():
    windows = sliding_windows(["abcdefgh" * 20, "short", "天地" * 30], 64)
    assert windows.too_short == 1
    assert {len(t.encode()) for t, i in zip(windows.texts, windows.of, strict=True) if i == 0} == {64}
    assert windows.texts[0] == ("abcdefgh" * 20)[:64]
    assert windows.texts[1] == ("abcdefgh" * 20)[32:96]
    assert all(
        "天" in t and "\ufffd" not in t for t, i in zip(windows.texts, windows.of, strict=True) if i == 2
    )
    made = References("".join(sentences(5)))
    for kind in ("random", "shuffled", "training"):
        assert [len(t.encode()) for t in made.take(kind, [5, 64, 200])] == [5, 64, 200]
        assert made.take(kind, [64]) == made.take(kind, [64])
    whole = "".join(sentences(5))
    assert made.take("training", [64])[0] in whole
    shuffled, uniform = made.take("shuffled", [20_000])[0], made.take("random", [20_000])[0]
    assert shuffled.count("e") / 20_000 == pytest.approx(whole.count("e") / len(whole), abs=0.02)
    assert uniform.count("e") / 20_000 == pytest.approx(1 / len(set(whole)), abs=0.01)


def test_entropy_reductions_of_shuffled_text_are_known():
    """Against itself shuffled, text without order gains nothing; against uniform, log2 K less H."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefgh"))
    p = np.array([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.0125, 0.0125, 0.00625])
    texts = ["".join(rng.choice(letters, size=4096, p=p / p.sum())) for _ in range(12)]
    entropy = float(-(p / p.sum() * np.log2(p / p.sum())).sum())
    ours, human = texts_of(texts[:6]), texts_of(texts[6:])
    found = compare(ours, human, scorer=None, options=replace(QUICK, window=4096, estimator="block-1"))
    random = found.figures["entropy_reduction_random"].generated
    assert random.value == pytest.approx(3 - entropy, abs=0.02)
    assert found.figures["entropy_reduction_shuffled"].generated.value == pytest.approx(0, abs=0.03)
    assert found.figures["whole_entropy_reduction_random"].human.value == pytest.approx(3 - entropy, abs=0.02)
    assert found.figures["cross_entropy"].generated is None
    assert "give one" in found.figures["cross_entropy"].reason


def test_chinese_is_counted_by_characters():
    human = texts_of(sentences(1, 30, 50, list(HAN), ""))
    ours = texts_of([HAN[:6] * 9 for _ in range(30)])
    train = [Document(name="t", text="".join(sentences(9, 40, 50, list(HAN), "")))]
    found = compare(ours, human, scorer=UnigramCoder(), train=train, options=QUICK)
    assert repetitive(found.figures)
    assert found.settings["units_per_text"] == 50
    assert found.figures["rep_2"].generated.value == pytest.approx(100 * (1 - 6 / 49))
    assert found.figures["novelty_4"].generated is not None
    assert 0 < found.figures["distinct_1"].human.value < 1


def test_intervals_of_differences_cover():
    """Paired: 95% intervals of a ratio's difference, known to be 0.5, are right about as often."""
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(150):
        shared = rng.gamma(4.0, size=40)
        size = rng.integers(50, 150, 40).astype(float)
        one = grouped([str(i) for i in range(40)], (shared + 1.0 + rng.normal(0, 0.2, 40)) * size, size)
        other = grouped([str(i) for i in range(40)][::-1], ((shared + 0.5) * size)[::-1], size[::-1])
        found = difference(one, other, seed=seed, resamples=400)
        hits += found.low <= 0.5 <= found.high
        assert found.high - found.low < 0.25  # unpaired it would be 1.7 wide
    assert 0.88 <= hits / 150 <= 0.99
    single = estimate(grouped(["a", "a"], [1.0, 2.0], [1.0, 1.0]))
    assert (single.value, single.low) == (1.5, None)
    with pytest.raises(CorpusError, match="nothing was counted"):
        estimate(grouped(["a"], [0.0], [0.0]))


def test_texts_that_are_hardly_there():
    human = texts_of(sentences(1, 12))
    for text in ("x", "天", "\n"):
        found = compare(texts_of([text] * 2), human, scorer=UnigramCoder(), options=QUICK)
        assert found.figures["entropy_rate"].generated is None
        assert "16 bytes" in found.figures["entropy_rate"].reason
        assert math.isfinite(found.figures["cross_entropy"].generated.value)
    with pytest.raises(CorpusError, match="no generated text"):
        compare([], human, scorer=None, options=QUICK)
    assert of_documents([Document(name="a", text="")]) == []


def test_files_that_are_wrong(tmp_path):
    file = tmp_path / "g.jsonl"
    file.write_text('{"text": ""}\n')
    with pytest.raises(CorpusError, match="holds no text"):
        read_continuations(file)
    file.write_text('{"text": "a", "decoding_bits": 3}\n')
    with pytest.raises(CorpusError, match="a list of numbers"):
        read_continuations(file)
    file.write_text('{"text": "a", "prompt": 3}\n')
    with pytest.raises(CorpusError, match="must be a string"):
        read_continuations(file)
    with pytest.raises(UsageError, match="no unit"):
        split("a", "syllable")


@pytest.mark.skipif(importlib.util.find_spec("mauve") is None, reason="needs mauve-text")
def test_mauve_of_sets_with_nothing_in_common():
    from kbit.information.generated.mauve import mauve

    rng = np.random.default_rng(0)
    one, other = ((rng.normal(size=(60, 4)) * 0.01 + np.eye(4)[i]).astype(np.float32) for i in (0, 1))
    apart = mauve(one, other, buckets=2)
    # 1 / C(10, 5) = .003968, by the trapezium rule on the package's 25 points; with more of them it is that.
    assert apart.value == pytest.approx(0.004072, abs=1e-6)
    from mauve import compute_mauve

    fine = compute_mauve(p_features=one, q_features=other, num_buckets=2, verbose=False,
                         divergence_curve_discretization_size=1000)  # fmt: skip
    assert fine.mauve == pytest.approx(1 / math.comb(10, 5), abs=1e-6)
    assert apart.warning is not None
    assert "noisy" in apart.warning
    spread = rng.normal(size=(60, 4)).astype(np.float32)
    assert mauve(spread, rng.permutation(spread), buckets=4).value == pytest.approx(1.0, abs=0.02)
