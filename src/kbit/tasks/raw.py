"""A record of a task's file before a prompt is made of it, and how prompts are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kbit.corpus import ExampleFields
from kbit.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """What a record says.

    Attributes:
        source: the place it was read from, `file:line`.
        given: the text it is about.
        question: about that text.
        references: right answers.
        label: its class.
        group: what it is part of.
        choices, gold: of multiple choice, and which is right.
        prompt: what the model reads, where the record says it word for word.
        continuation: the first reference as it stands after the prompt, spaces and all.
        taught: it has the form of `kbit finetune`, and is asked as that teaches it.
        fields: what else there is.
    """

    source: str
    given: str = ""
    question: str = ""
    references: tuple[str, ...] = ()
    label: str | None = None
    group: str = ""
    choices: tuple[str, ...] = ()
    gold: int | None = None
    prompt: str | None = None
    continuation: str | None = None
    taught: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How files become items.

    Attributes:
        template: of prompts, with {text}, {question}, {from} and {to}; the task's own where None.
        language: of the answers; told from them where None.
        words: label -> what the model is to say for it, a space before it where one belongs.
        names: of the fields of records.
        tokenizer: of the model, whose chat template writes conversations; plain lines without one.
        drop_bad: leave out records of known data sets that are wrong, and say so in `dropped`.
        dropped: what was wrong with them.
        limit: so many items, drawn with `seed`; all where None.
        seed: of that draw.
    """

    template: str | None = None
    language: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    names: ExampleFields = field(default_factory=ExampleFields)
    tokenizer: Any = None
    drop_bad: bool = False
    dropped: list[str] = field(default_factory=list)
    limit: int | None = None
    seed: int = 0


def text_of(record: Mapping[str, Any], key: str, place: str) -> str:
    """A field that must be a text, and not an empty one.

    Raises:
        CorpusError: it is missing, no text, or empty.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        told = "is empty" if isinstance(value, str) else "is missing" if value is None else "is no text"
        raise CorpusError(f"{place}: {key!r} {told}. Mend or remove the record: nothing was done.")
    return value


def texts_of(record: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """A field that must be a list of texts, or one text; empty ones of several are left out.

    Raises:
        CorpusError: it is missing or holds nothing.
    """
    value = record.get(key)
    if isinstance(value, str):
        return (text_of(record, key, place),)
    found = tuple(v for v in value if isinstance(v, str) and v.strip()) if isinstance(value, list) else ()
    if not found:
        raise CorpusError(f"{place}: {key!r} holds no text. Mend or remove the record: nothing was done.")
    return found


def index_of(record: Mapping[str, Any], key: str, choices: Sequence[str], place: str) -> int:
    """A field that must say which choice is right, from 0.

    Raises:
        CorpusError: it is no such number.
    """
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(choices):
        raise CorpusError(
            f"{place}: {key!r} is {value!r}; it must be a number from 0 to {len(choices) - 1}: which choice "
            "is right."
        )
    return value
