"""Which tokens are learned, and what is refused before a step is done."""

from dataclasses import replace

import numpy as np
import pytest

from kbit.corpus.example import Example
from kbit.errors import TrainingError
from kbit.models import load_tokenizer
from kbit.training.finetune.encode import encode_example, encode_examples
from kbit.training.finetune.settings import Tuning


@pytest.fixture(scope="module")
def tokenizer(rung):
    return load_tokenizer(rung)


def spelled(tokenizer, encoded, wanted: bool) -> str:
    return tokenizer.decode([t for t, a in zip(encoded.tokens, encoded.answer, strict=True) if a == wanted])


def test_only_the_answer_and_the_end_are_learned(tokenizer, completions):
    encoded = encode_example(completions[0], tokenizer, template="{text}")
    assert encoded.tokens[0] == tokenizer.bos_token_id
    assert encoded.tokens[-1] == tokenizer.eos_token_id
    assert spelled(tokenizer, encoded, True) == " red green" + tokenizer.eos_token
    assert spelled(tokenizer, encoded, False) == tokenizer.bos_token + "green and red:"
    assert encoded.answer_bytes == len(b" red green")


def test_a_label_follows_the_template(tokenizer, labelled):
    encoded = encode_example(labelled[0], tokenizer, template="Review: {text}\nGood?")
    assert spelled(tokenizer, encoded, False).endswith("good, number 1\nGood?")
    assert spelled(tokenizer, encoded, True) == " yes" + tokenizer.eos_token


def test_every_reply_of_a_conversation_is_learned(tokenizer, chat):
    encoded = encode_example(chat, tokenizer, template="")
    assert spelled(tokenizer, encoded, True) == " hi\n well\n" + tokenizer.eos_token
    assert tokenizer.decode(encoded.tokens[1:-1]) == (
        "User: hello\nAssistant: hi\nUser: how are you?\nAssistant: well\n"
    )


def test_a_chat_template_is_used_where_there_is_one(tokenizer, chat):
    templated = load_tokenizer(tokenizer.name_or_path)
    templated.split_special_tokens = False  # as chat models have it; the ladder's reads any text as text
    templated.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    encoded = encode_example(chat, templated, template="")
    assert list(encoded.tokens).count(templated.bos_token_id) == 1  # none beside the template's own
    assert spelled(templated, encoded, True) == "hi</s>well</s>"  # no end beside the template's own


def test_too_long_is_an_error_with_file_and_line(tokenizer, completions):
    long = replace(completions[3], prompt="word " * 300)
    with pytest.raises(TrainingError, match=r"sums.jsonl:4: \d+ tokens.*Nothing was trained"):
        encode_examples([*completions[:3], long], tokenizer, Tuning(), longest=64)


def test_too_long_is_cut_at_the_beginning_or_dropped(tokenizer, completions):
    long = replace(completions[3], prompt="word " * 300 + "end:")
    cut = encode_examples([completions[0], long], tokenizer, Tuning(too_long="cut"), longest=64)
    assert cut.cut == 1
    assert cut.examples[1].length == 64
    assert cut.examples[1].tokens[0] == tokenizer.bos_token_id
    assert spelled(tokenizer, cut.examples[1], False).endswith("word end:")
    assert spelled(tokenizer, cut.examples[1], True).startswith(long.completions[0])
    dropped = encode_examples([completions[0], long], tokenizer, Tuning(too_long="drop"), longest=64)
    assert (len(dropped.examples), dropped.dropped) == (1, 1)
    with pytest.raises(TrainingError, match="no example is left"):
        encode_examples([long], tokenizer, Tuning(too_long="drop"), longest=64)


def test_an_answer_that_is_too_long_by_itself_cannot_be_cut(tokenizer):
    example = Example(source="a.jsonl:7", prompt="x", completions=("word " * 300,))
    with pytest.raises(TrainingError, match=r"a.jsonl:7.*its answer alone too long"):
        encode_examples([example], tokenizer, Tuning(too_long="cut"), longest=64)


def test_token_counts_add_up(tokenizer, labelled):
    found = encode_examples(labelled, tokenizer, Tuning(), longest=128)
    assert found.labels == ("no", "yes")
    assert found.tokens == sum(len(e.tokens) for e in found.examples)
    assert found.answer_tokens == sum(int(np.sum(e.answer)) for e in found.examples)
