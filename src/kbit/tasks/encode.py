"""Prompts and what may follow them as tokens, each tokenised by itself, as a model is taught and asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kbit.coders.logits import max_positions
from kbit.coders.tokens import find_prefix, tokenise
from kbit.corpus import Document
from kbit.errors import CorpusError, UsageError, did_you_mean
from kbit.tasks.baselines import reply_text
from kbit.tasks.item import Item

TooLong = Literal["refuse", "cut"]
TOO_LONG: tuple[TooLong, ...] = ("refuse", "cut")
MOST_TOLD = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """An item as a model reads it.

    Attributes:
        item: what is asked.
        prompt: its tokens, the begin of text before them.
        choices: tokens of each choice; of the first reference where bits of it are asked.
        cut: tokens of the prompt that were left out because it was too long.
    """

    item: Item
    prompt: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...] = ()
    cut: int = 0


def encode_items(
    tokenizer: Any,
    items: Sequence[Item],
    *,
    longest: int | None,
    new_tokens: int = 0,
    with_reference: bool = False,
    too_long: TooLong = "refuse",
) -> list[Encoded]:
    """Tokenise all items, and see that the model can read them, before it reads the first.

    Args:
        tokenizer: the model's.
        items: of a task.
        longest: tokens the model reads; None for any number.
        new_tokens: room kept for what is written.
        with_reference: tokenise the first reference too, as it stands after the prompt.
        too_long: refuse all where one does not fit, or leave out the beginnings of such prompts.

    Raises:
        CorpusError: prompts are too long; a choice has no tokens. File and line are named.
        UsageError: `too_long` is neither.
    """
    if too_long not in TOO_LONG:
        raise UsageError(f"too long a prompt is not {too_long!r}: {did_you_mean(too_long, TOO_LONG)}.")
    begin = find_prefix(tokenizer).id
    bare = any(item.fields.get("bare") for item in items)
    found: list[Encoded] = []
    faults: list[str] = []
    for item in items:
        prompt = _templated(tokenizer, item.prompt) if bare else (begin, *_ids(tokenizer, item.prompt))
        texts = (reply_text(item),) if with_reference else item.choices
        choices = tuple((_templated if bare else _ids)(tokenizer, text) for text in texts)
        if any(not choice for choice in choices):
            raise CorpusError(f"{item.source}: a choice without a token. Give choices that are not empty.")
        # Of what follows the prompt, the last token is predicted but not read.
        needed = max([new_tokens, *(len(choice) for choice in choices)]) - 1
        over = 0 if longest is None else max(0, len(prompt) + max(0, needed) - longest)
        if over and (too_long == "refuse" or over > len(prompt) - 2):
            faults.append(f"{item.source}: {len(prompt)} tokens and {needed + 1} to follow")
            continue
        prompt = (prompt[0], *prompt[1 + over :])
        found.append(Encoded(item=item, prompt=prompt, choices=choices, cut=over))
    if faults:
        more = f" And {len(faults) - MOST_TOLD} more." if len(faults) > MOST_TOLD else ""
        raise CorpusError(
            f"the model reads at most {longest} tokens. {'; '.join(faults[:MOST_TOLD])}.{more} Shorten or "
            "remove these, or have the beginnings of long prompts left out (--too-long cut)."
        )
    return found


def room_of(model: Any) -> int | None:
    """Tokens a model reads at most."""
    return max_positions(model.config)


def _templated(tokenizer: Any, text: str) -> tuple[int, ...]:
    """A chat template's text: it writes the begin itself, and its marks are tokens."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenise(tokenizer, Document(name="", text=text)).ids)
