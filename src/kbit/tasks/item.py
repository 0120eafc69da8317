"""What a task asks, item by item, and what was answered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kbit.corpus import Document
from kbit.information.units import unspaced_share

CHINESE = "zh"
PLAIN = "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question of a task.

    Attributes:
        name: tells it from the others of the task.
        source: the place it was read from, `file:line`.
        prompt: what the model reads, word for word.
        references: right answers, each enough; empty where one of `choices` is right.
        choices: what may follow the prompt, word for word; empty where text is written freely.
        gold: which choice is right.
        classes: what the choices stand for, the same for every item, where they are classes.
        group: what the item is part of: a kind of bias, a phenomenon of grammar; empty for none.
        given: the text the answer is about (to translate, to sum up, to look it up in), which trivial
            baselines read.
        question: about that text, where there is one.
        fields: what else a task needs: the tests of a program, say.
    """

    name: str
    source: str
    prompt: str
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    gold: int | None = None
    classes: tuple[str, ...] = ()
    group: str = ""
    given: str = ""
    question: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> Document:
        """The item as a text, so that a store can tell it from others: all that changes an answer's worth."""
        told = [self.prompt, self.references, self.choices, self.gold, self.group]
        return Document(name=self.name, text=json.dumps(told, ensure_ascii=False))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was answered to one item.

    Attributes:
        text: what was written.
        choice_bits: bits of each choice after the prompt; a baseline gives 0 to the one it takes.
        reference_bits: of the first reference after the prompt, with `reference_bytes`; None where not asked.
        passed: of programs, how many passed of `tried`.
        told: anything else worth keeping: how the text ended, tokens.
    """

    text: str = ""
    choice_bits: tuple[float, ...] = ()
    reference_bits: float | None = None
    reference_bytes: int = 0
    passed: int = 0
    tried: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def choice(self) -> int:
        """The likeliest choice; the first of several that are as likely."""
        return min(range(len(self.choice_bits)), key=self.choice_bits.__getitem__)


def items_hash(items: Sequence[Item]) -> str:
    """SHA-256 of a list of items, order among them: what predictions belong to."""
    digest = hashlib.sha256(b"kbit items 1\n")
    for item in items:
        digest.update(json.dumps([item.name, item.document.text, item.fields], sort_keys=True).encode())
    return digest.hexdigest()


def language_of(texts: Sequence[str]) -> str:
    """`zh` where most of the words are characters of scripts without spaces, else `en`.

    >>> language_of(["今天天气很好"]), language_of(["It is fine."])
    ('zh', 'en')
    """
    return CHINESE if unspaced_share(" ".join(texts[:200])) > 0.5 else PLAIN
