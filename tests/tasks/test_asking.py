"""Bits of choices and greedy answers against an independent forward pass; both engines agree."""

import json
import math

import pytest
import torch

from kbit.errors import CorpusError
from kbit.models import load, load_tokenizer
from kbit.models.decode import unserved
from kbit.tasks import find_task, write
from kbit.tasks.choose import choice_bits
from kbit.tasks.encode import encode_items
from kbit.tasks.item import Item
from kbit.tasks.items import read_items
from kbit.tasks.raw import Reading
from kbit.tasks.write import Writing, write_answers


@pytest.fixture(scope="module")
def both(folder):
    return load(folder, dtype=torch.float32), load_tokenizer(folder)


def item(name, prompt, *choices, **fields):
    return Item(name=name, source=f"x:{name}", prompt=prompt, choices=choices, **fields)


ITEMS = [
    item("1", "the hen in", " a", " the"),
    item("2", "ä 你", "x", "yz", "the inner hen"),
    item("3", "", "he", "her"),
    item("4", "in the inner inn there is a hen and another hen", " a", "!"),
]


def test_bits_of_choices_are_those_of_a_forward_pass_in_float64(both, tiny):
    model, tokenizer = both
    numpy_llama = tiny.NumpyLlama.of(model)
    encoded = encode_items(tokenizer, ITEMS, longest=64)
    for size in (None, 1, 3):
        found = {
            e.item.name: bits for batch in choice_bits(model, encoded, batch_size=size) for e, bits in batch
        }
        assert set(found) == {"1", "2", "3", "4"}
        for e in encoded:
            for choice, bits in zip(e.choices, found[e.item.name], strict=True):
                logits = numpy_llama.logits([*e.prompt, *choice])
                expected = 0.0
                for place, token in enumerate(choice, start=len(e.prompt) - 1):
                    row = torch.from_numpy(logits[place]).double()
                    expected -= float(row.log_softmax(0)[token]) / math.log(2)
                assert bits == pytest.approx(expected, abs=2e-4)


def test_a_prompt_begins_with_the_begin_of_text_and_choices_stand_alone(both):
    _, tokenizer = both
    [e] = encode_items(tokenizer, [item("1", "the", " a", " the <s>")], longest=64)
    assert e.prompt == (0, *tokenizer("the", add_special_tokens=False)["input_ids"])
    assert 0 not in e.choices[1]  # what looks like a mark is text


def test_a_chat_template_writes_its_own_begin_and_marks(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    talk = [{"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Ho"))]
    (tmp_path / "t.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    [asked], _ = read_items(find_task("dialogue"), [tmp_path / "t.jsonl"], Reading(tokenizer=tokenizer))
    assert asked.prompt == "<s>user: Hi</s>assistant: "
    [e] = encode_items(tokenizer, [asked], longest=64, with_reference=True)
    assert (e.prompt[0], e.prompt.count(0), e.prompt.count(1)) == (0, 1, 1)
    assert tokenizer.decode(e.choices[0]) == "Ho</s>"
    assert e.choices[0][-1] == 1


def test_too_long_prompts_are_refused_or_cut(both):
    _, tokenizer = both
    items = [item("1", "x" * 10, "yes"), item("2", "x" * 70, "yes")]
    with pytest.raises(CorpusError, match=r"at most 64 tokens\. x:2: 71 tokens and 3 to follow"):
        encode_items(tokenizer, items, longest=64)
    short, cut = encode_items(tokenizer, items, longest=64, too_long="cut")
    assert (short.cut, cut.cut) == (0, 9)
    assert len(cut.prompt) + len(cut.choices[0]) - 1 == 64
    assert cut.prompt[0] == 0


def greedy(model, tokenizer, prompt, count, stop):
    """One text at a time, read whole for each token."""
    ids, new = list(prompt), []
    for _ in range(count):
        with torch.inference_mode():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == 1:
            break
        ids.append(token)
        new.append(token)
        text = tokenizer.decode(new).lstrip()
        if stop in text:
            return text[: text.find(stop)].strip()
    return tokenizer.decode(new).strip()


@pytest.mark.parametrize("engine", ["core", "transformers"])
def test_written_answers_are_greedy_whatever_the_batch(both, engine, monkeypatch):
    model, tokenizer = both
    assert unserved(model) is None
    if engine == "transformers":
        monkeypatch.setattr(write, "unserved", lambda model: "not here")
    encoded = encode_items(tokenizer, ITEMS, longest=64, new_tokens=12)
    stop = "e"
    expected = {e.item.name: greedy(model, tokenizer, e.prompt, 12, stop) for e in encoded}
    assert len(set(expected.values())) > 2
    for size in (1, 3, 16):
        how = Writing(max_new_tokens=12, stop=(stop,))
        found = {
            e.item.name: w.text
            for batch in write_answers(model, tokenizer, encoded, how, batch_size=size)
            for e, w in batch
        }
        assert found == expected


def test_drawn_answers_follow_from_seed_and_name_alone(both):
    model, tokenizer = both
    encoded = encode_items(tokenizer, ITEMS, longest=64, new_tokens=8)

    def drawn(seed, size):
        how = Writing(max_new_tokens=8, stop=(), temperature=1.0, seed=seed, keep_space=True)
        batches = write_answers(model, tokenizer, encoded, how, batch_size=size)
        return {e.item.name: w.text for batch in batches for e, w in batch}

    assert drawn(0, 1) == drawn(0, 4)
    assert drawn(0, 4) != drawn(1, 4)
