"""What a tokeniser keeps of a text."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kbit.coders.tokens import find_prefix, lost_bytes, same_tokeniser, tokenise
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError


def edit_distance(a: bytes, b: bytes) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            new.append(min(new[-1] + 1, row[j] + 1, row[j - 1] + (x != y)))
        row = new
    return row[-1]


@given(st.binary(max_size=40), st.binary(max_size=40))
@example(b"abc", b"abd")
def test_lost_bytes_bounds(text, back):
    lost = lost_bytes(text, back)
    assert (lost == 0) == (text == back)
    assert edit_distance(text, back) <= lost <= max(len(text), len(back))


@pytest.mark.parametrize("at", range(0, 90, 7))
def test_one_byte_lost_counts_one(at):
    raw = b" ".join(b"%d" % (n * n) for n in range(100, 130))
    assert lost_bytes(raw, raw[:at] + raw[at + 1 :]) == 1
    assert lost_bytes(raw, raw[:at] + b"#" + raw[at + 1 :]) == 1
    assert lost_bytes(raw, raw[:at] + b"#" + raw[at:]) == 1


def test_lost_newlines_of_a_long_text():
    line = b"a line of some text that goes on\n"
    assert lost_bytes(line * 5000, line.replace(b"\n", b" ") * 5000) == 5000
    assert lost_bytes(line * 5000, line.replace(b"\n", b"") * 5000) == 5000


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=40))
@example(text="a<s>b</s>")
@example(text=" two  spaces \r\n")
def test_a_byte_level_tokeniser_is_lossless(tiny_tokenizer, text):
    item = tokenise(tiny_tokenizer, Document(name="d", text=text))
    assert item.bytes_lost == 0
    special = {tiny_tokenizer.bos_token_id, tiny_tokenizer.eos_token_id}
    assert not special & set(item.ids), "text must not be able to name a special token"
    assert tiny_tokenizer.decode(item.ids) == text


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny):
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def words():
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "one": 1, "two": 2}, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


@pytest.mark.parametrize(
    ("text", "lost"), [("one two", 0), ("One two", 1), ("one\ntwo", 1), ("one  two", 1), ("one six", 5)]
)
def test_a_lossy_tokeniser_is_found_out(words, text, lost):
    assert tokenise(words, Document(name="d", text=text)).bytes_lost == lost


def test_prefix_rules(tiny, words):
    both, eos = tiny.tokenizer(), tiny.tokenizer(bos=False)
    assert (find_prefix(both).token, find_prefix(both).rule) == ("<s>", "bos")
    assert (find_prefix(eos).token, find_prefix(eos).rule) == ("</s>", "eos")
    assert find_prefix(both, "</s>").rule == "given"
    assert find_prefix(both, 0).id == 0
    assert find_prefix(words, "two").id == 2
    with pytest.raises(CoderError, match="--prefix"):
        find_prefix(words)
    for wrong in ("three", 3, -1):
        with pytest.raises(UsageError, match="not one token"):
            find_prefix(words, wrong)


def test_same_tokeniser(tiny, words):
    assert same_tokeniser(tiny.tokenizer(), tiny.tokenizer())
    assert not same_tokeniser(tiny.tokenizer(), words)


def test_a_document_too_long_for_a_tokeniser_is_refused_before_it_takes_the_memory(tiny, monkeypatch):
    from kbit.coders import tokens

    text = "天" * 40 + "\n"
    assert tokenise(tiny.tokenizer(), Document(name="d", text=text)).bytes_lost == 0
    monkeypatch.setattr(tokens, "MOST_BYTES", 120)
    with pytest.raises(CoderError, match=r"'d' has 121 bytes.*Divide it"):
        tokenise(tiny.tokenizer(), Document(name="d", text=text))
    assert tokenise(tiny.tokenizer(), Document(name="d", text=text[1:])).bytes_lost == 0
