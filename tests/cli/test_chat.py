"""Conversations: what the model is given, what is forgotten, and the command."""

import io
import json

import pytest

from kbit import ladder
from kbit.cli.app import run
from kbit.errors import ModelError, UsageError
from kbit.models import load, load_tokenizer
from kbit.models.chat import Conversation, Turn

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def rung():
    folder = ladder.rungs()[0]
    return load(folder), load_tokenizer(folder)


def test_a_plain_dialogue_where_there_is_no_template(rung):
    talk = Conversation(*rung, "Be kind.")
    turns = [
        Turn(role="user", text="Hi"),
        Turn(role="assistant", text="Hello"),
        Turn(role="user", text="Ok?"),
    ]
    assert not talk.has_template
    assert talk.prompt(turns) == "Be kind.\nUser: Hi\nAssistant: Hello\nUser: Ok?\nAssistant:"


def test_a_template_is_used_and_its_begin_not_doubled(rung, monkeypatch):
    model, tokenizer = rung
    tokenizer = load_tokenizer(ladder.rungs()[0])
    tokenizer.chat_template = TEMPLATE
    talk = Conversation(model, tokenizer)
    assert talk.prompt([Turn(role="user", text="Hi")]) == "<s>[user]Hi\n[assistant]"
    seen = {}

    def record(model, tokenizer, prompt, **settings):
        seen["ids"] = tokenizer(prompt)["input_ids"]
        from kbit.models.generation import generate

        return generate(model, tokenizer, prompt, **settings)

    monkeypatch.setattr("kbit.models.chat.generate", record)
    reply = talk.say("Hi", max_new_tokens=4, temperature=0)
    assert seen["ids"] == tokenizer("<s>[user]Hi\n[assistant]", add_special_tokens=False).input_ids
    assert len(reply.made.tokens) == 4
    assert [turn.role for turn in talk.turns] == ["user", "assistant"]
    assert talk.turns[1].text == reply.made.text


def test_old_turns_are_forgotten_so_that_the_answer_fits(rung):
    talk = Conversation(*rung)
    for number in range(4):
        reply = talk.say(f"Turn {number}: " + "word " * 120, max_new_tokens=40, temperature=0)
    assert reply.forgotten in (2, 4, 6)
    assert len(talk.turns) == 8  # the conversation itself is whole
    with pytest.raises(ModelError, match="the model reads 512"):
        talk.say("word " * 900, max_new_tokens=8)
    assert len(talk.turns) == 8
    with pytest.raises(UsageError, match="say something"):
        talk.say("  ")


def test_the_command_talks_until_the_end_of_input(monkeypatch, capsys):
    folder = str(ladder.rungs()[0])
    monkeypatch.setattr("sys.stdin", io.StringIO("The list is\n\n/reset\nThe file is\n/quit\nnever\n"))
    options = ["--max-new-tokens", "6", "--temperature", "0", "--show"]
    assert run(["chat", folder, *options, "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert [turn["text"] for turn in data["turns"] if turn["role"] == "user"] == ["The file is"]
    assert [reply["new_tokens"] for reply in data["replies"]] == [6, 6]
    assert "no chat template" in captured.err
    assert "a second" in captured.err
    monkeypatch.setattr("sys.stdin", io.StringIO("The list is\n"))
    assert run(["chat", folder, *options]) == 0
    assert capsys.readouterr().out.strip() == data_text(folder, options)


def data_text(folder, options):
    model, tokenizer = load(folder), load_tokenizer(folder)
    reply = Conversation(model, tokenizer).say("The list is", max_new_tokens=6, temperature=0)
    return reply.made.text


def test_bad_calls_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    folder = str(ladder.rungs()[0])
    assert run(["chat", folder, "--dtype", "flot32", "--json"]) == 2
    assert "float32" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run(["chat", folder, "--temperature", "-1", "--json"]) == 2
    assert "temperature" in capsys.readouterr().out
    assert run(["chat", "no/such/folder", "--json"]) == 1
