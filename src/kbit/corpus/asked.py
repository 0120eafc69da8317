"""How an example is put to a model: pieces of text, and which of them are the answer.

Training takes the loss on the answer's tokens; whoever evaluates asks with `question` and reads what follows.
Both come from here, so a model is asked as it was taught.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kbit.corpus.example import Example, Message

LABEL_TEMPLATE = "{text}\nLabel:"
"""What stands before a label, which follows behind a space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of an example's text.

    Attributes:
        text: to be tokenised by itself, as it is when a model is asked and its answer begins.
        answer: whether the model is to say it.
    """

    text: str
    answer: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An example as pieces of text, in order; the last of them is an answer.

    Attributes:
        pieces: prompt and answer, or the turns of a conversation.
        bare: the tokeniser adds no begin of its own, because its chat template writes one.
    """

    pieces: tuple[Piece, ...]
    bare: bool = False

    @property
    def question(self) -> str:
        """All that stands before the last answer."""
        return "".join(piece.text for piece in self.pieces[:-1])


def asked(example: Example, tokenizer: Any = None, *, template: str = LABEL_TEMPLATE) -> Asked:
    r"""Put an example to a model: of several right answers the first, of a conversation every reply.

    Args:
        example: of any form.
        tokenizer: its chat template is used for conversations where it has one.
        template: what a text to label becomes; `{text}` stands for it.

    >>> e = Example(source="x:1", prompt="nice room", label="good")
    >>> [piece.text for piece in asked(e).pieces]
    ['nice room\nLabel:', ' good']
    """
    if example.form == "chat":
        return _conversation(example.messages, tokenizer)
    if example.form == "label":
        prompt, answer = template.replace("{text}", example.prompt), f" {example.label}"
    else:
        prompt, answer = example.prompt, example.completion or ""
    return Asked(pieces=(Piece(text=prompt, answer=False), Piece(text=answer, answer=True)))


def _conversation(messages: Sequence[Message], tokenizer: Any) -> Asked:
    has_template = bool(getattr(tokenizer, "chat_template", None))
    write = _templated if has_template else _plain
    pieces: list[Piece] = []
    done = ""
    for number, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = write(messages[:number], tokenizer, True)
        after = write(messages[: number + 1], tokenizer, False)
        if not (before.startswith(done) and after.startswith(before)):
            # A template that writes earlier turns anew (without thoughts, say): only the last is taught.
            before = write(messages[:-1], tokenizer, True)
            after = before + messages[-1].content
            pieces, done = [], ""
            number = len(messages) - 1
        pieces.append(Piece(text=before[len(done) :], answer=False))
        pieces.append(Piece(text=after[len(before) :], answer=True))
        done = after
        if number == len(messages) - 1:
            break
    return Asked(pieces=tuple(pieces), bare=has_template)


def _templated(messages: Sequence[Message], tokenizer: Any, asks: bool) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
    return text


def _plain(messages: Sequence[Message], tokenizer: Any, asks: bool) -> str:
    from kbit.models.chat import PLAIN

    lines = "".join(f"{PLAIN[message.role]}{message.content}\n" for message in messages)
    return lines + PLAIN["assistant"].rstrip() if asks else lines
