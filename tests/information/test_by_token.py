"""Tokens of a text: where they lie, what each costs, and sums by class that are those of the text."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.coders import LanguageModelCoder, NgramCoder, UniformCoder
from kbit.corpus import Document
from kbit.errors import CoderError
from kbit.information import gain
from kbit.information.breakdown import bands, breakdown, script_of, token_counts
from kbit.information.by_token import as_record, token_ends, token_tables
from kbit.information.measured import measure_text, memorisation

TEXTS = ["the hen in the inner tent, 42\n", "红楼梦 and the rest: 天地玄黄", "", "herein " * 30, "Ω a"]
DOCUMENTS = [Document(name=f"d{i}", text=t) for i, t in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def tiny():
    path = Path(__file__).parent.parent / "coders" / "tiny.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny_tokens", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def coders(tiny):
    return [
        LanguageModelCoder(tiny.model(seed), tiny.tokenizer(), name=f"m{seed}", context=16, stride=8)
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def baseline():
    return NgramCoder.fit([Document(name="b", text="the hen and the rest of the tent herein " * 20)], order=6)


@pytest.fixture(scope="module")
def tables(coders, baseline):
    return list(token_tables(coders[0], DOCUMENTS, against=coders[1], baseline=baseline))


def test_tokens_cover_their_text(tiny, tables):
    assert [t.document.name for t in tables] == ["d0", "d1", "d3", "d4"]
    for table in tables:
        assert "".join(table.pieces) == table.document.text
        assert table.sizes.sum() == table.document.bytes
        assert (table.sizes >= 0).all()
    pieces = dict(zip(tables[0].ids, tables[0].pieces, strict=True))
    vocabulary = tiny.tokenizer().get_vocab()
    assert pieces[vocabulary["Ġthe"]] == " the"


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_ends_of_any_text(text):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(["<s>", *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>")
    ends = token_ends(tokenizer, Document(name="x", text=text))
    assert len(ends) == len(text.encode())
    assert ends[-1] == len(text.encode())
    assert (np.diff(ends) >= 0).all()


def test_bits_are_those_of_the_coders(coders, baseline, tables):
    for table, found in zip(tables, coders[0].token_bits([t.document for t in tables]), strict=True):
        assert np.array_equal(table.model_bits, found.bits)
    for column, coder in (
        ("model_bits", coders[0]),
        ("against_bits", coders[1]),
        ("baseline_bits", baseline),
    ):
        for table, lengths in zip(tables, coder.code_lengths([t.document for t in tables]), strict=True):
            assert math.fsum(getattr(table, column)) == pytest.approx(lengths.bits, rel=1e-9)
    the = tables[0]
    each = baseline.byte_bits(the.document)
    place = the.pieces.index(" the")
    assert the.baseline_bits[place] == pytest.approx(each[the.ends[place] - 4 : the.ends[place]].sum())


def test_places_are_what_the_model_has_read(coders, tables):
    long = tables[2]
    assert long.before[:16].tolist() == list(range(16))
    # Further windows read 8 tokens again and then score 8.
    assert set(long.before[16:].tolist()) <= set(range(8, 16))


def test_sums_over_classes_are_those_of_the_text(coders, baseline, tables):
    counts = token_counts(coders[0].tokenizer, DOCUMENTS[:1])
    found = breakdown(tables, counts=counts, resamples=50)
    bits = sum(c.bits for c in coders[0].code_lengths(DOCUMENTS))
    whole = gain(*(list(c.code_lengths(DOCUMENTS)) for c in (coders[0], baseline)))
    size = sum(d.bytes for d in DOCUMENTS)
    for kind in ("document", "script", "place", "frequency"):
        shares = found[kind]
        assert sum(s.bytes for s in shares) == size, kind
        assert sum(s.tokens for s in shares) == sum(len(t.ids) for t in tables), kind
        assert sum(s.bits_per_byte.value * s.bytes for s in shares) == pytest.approx(bits), kind
        assert sum(s.gain.value * s.bytes for s in shares) == pytest.approx(whole.value * size), kind
        cost = sum(t.model_bits.sum() - t.against_bits.sum() for t in tables)
        assert sum(s.cost.value * s.bytes for s in shares) == pytest.approx(cost), kind
    assert {s.name for s in found["script"]} == {"Latin", "Han", "Greek", "signs", "digits", "white space"}
    names = [s.name for s in found["frequency"]]
    assert names[0] == "0"


def test_scripts_and_bands():
    assert [script_of(p) for p in ("你", "й", "عرب", "ไทย", "1", "+", " ", "ⵣ")] == [
        "Han", "Cyrillic", "Arabic", "Thai", "digits", "signs", "white space", "other scripts",
    ]  # fmt: skip
    assert bands([0, 1, 9, 10], (1, 10)) == ["0", "1 to 9", "1 to 9", "10 and more"]


def test_without_another_model_or_baseline(coders):
    (table,) = token_tables(coders[0], DOCUMENTS[:1])
    assert table.against_bits is None
    assert table.baseline_bits is None
    found = breakdown([table], resamples=10)
    assert "frequency" not in found
    assert found["script"][0].gain is None
    assert found["script"][0].cost is None
    record = as_record(table, coders[0].tokenizer)
    assert len(record["tokens"]) == len(record["ends"]) == len(record["model_bits"])
    assert record["against_bits"] is None


def test_what_cannot_be(tiny, coders):
    other = tiny.tokenizer()
    other.add_tokens(["hen"])
    strange = LanguageModelCoder(tiny.model(0, vocab_size=266), other, name="strange")
    with pytest.raises(CoderError, match="different tokenisers"):
        next(token_tables(coders[0], DOCUMENTS, against=strange))
    with pytest.raises(CoderError, match="does not tell the bits of each byte"):
        next(token_tables(coders[0], DOCUMENTS, baseline=UniformCoder()))


def test_steps_of_the_ladder_add_up(coders, baseline):
    from kbit.coders import UnigramCoder

    found = measure_text(coders[0], [UniformCoder(), baseline, UnigramCoder()], DOCUMENTS)
    assert len(found.steps) == 3
    assert [s.upper for s in found.steps[:-1]] == [s.lower for s in found.steps[1:]]
    # From the worst to the best coder, whatever lies between.
    worst, best = found.steps[0].lower, found.steps[-1].upper
    rates = {name: b.bits_per_byte.value for name, b in found.baselines.items()}
    rates["m0"] = found.bits_per_byte.value
    assert worst == max(rates, key=rates.__getitem__)
    assert best == min(rates, key=rates.__getitem__)
    assert sum(s.gain.value for s in found.steps) == pytest.approx(rates[worst] - rates[best])
    assert all(s.gain.value >= 0 and s.gain.low <= s.gain.value <= s.gain.high for s in found.steps)


def test_a_text_known_by_heart_is_seen():
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefgh "))

    def texts(n, p):
        return [Document(name=str(i), text="".join(rng.choice(letters, 400, p=p))) for i in range(n)]

    flat, slanted = np.full(9, 1 / 9), np.array([0.4] + [0.075] * 8)
    seen, held_out = texts(20, flat), texts(20, flat)
    fitted = NgramCoder.fit(seen, order=6)
    unseeing = NgramCoder.fit(texts(20, flat), order=1)
    found = memorisation(fitted, unseeing, seen, held_out)
    assert found.memorised.low > 0.5
    assert found.held_out.value - found.trained_on.value == pytest.approx(found.difference.value)
    # An easier text is no memory: both coders find it easier by as much.
    fair = NgramCoder.fit(texts(20, flat), order=2)
    other = memorisation(fair, unseeing, texts(20, slanted), held_out)
    assert abs(other.memorised.value) < 0.1
    honest = memorisation(fair, unseeing, texts(20, flat), held_out)
    assert honest.memorised.low <= 0 <= honest.memorised.high
