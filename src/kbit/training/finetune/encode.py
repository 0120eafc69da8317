"""Examples as tokens, and which tokens are to be learned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kbit.coders.tokens import find_prefix
from kbit.corpus.asked import asked
from kbit.corpus.example import Example
from kbit.errors import TrainingError
from kbit.training.finetune.settings import Tuning


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One example as a model reads it.

    Attributes:
        source: the place it was read from.
        tokens: [length], begin, prompt, answer and end.
        answer: [length], true for tokens the model is to say; never for the first.
        label: its class; None where it has none.
        answer_bytes, answer_characters: of the text that is the answer.
    """

    source: str
    tokens: npt.NDArray[np.int64]
    answer: npt.NDArray[np.bool_]
    label: str | None
    answer_bytes: int
    answer_characters: int

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSet:
    """Examples in the order of their file, tokens one may have, and what had to be done to some."""

    examples: tuple[Encoded, ...]
    longest: int
    cut: int = 0
    dropped: int = 0

    @property
    def tokens(self) -> int:
        """Of all examples."""
        return sum(example.length for example in self.examples)

    @property
    def answer_tokens(self) -> int:
        """Tokens the loss is taken on, in one pass."""
        return sum(int(example.answer.sum()) for example in self.examples)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted; empty where examples have none."""
        return tuple(sorted({e.label for e in self.examples if e.label is not None}))


def encode_examples(
    examples: Sequence[Example], tokenizer: Any, tuning: Tuning, *, longest: int
) -> EncodedSet:
    """Tokenise examples, each piece by itself and an end-of-text token behind the last.

    Args:
        examples: all of one form.
        tokenizer: of the model.
        tuning: `template` and `too_long` of it.
        longest: tokens an example may have.

    Raises:
        TrainingError: an example is too long and may not be cut; or none is left. File and line are named.
    """
    found: list[Encoded] = []
    faults: list[str] = []
    cut = dropped = 0
    for example in examples:
        encoded = encode_example(example, tokenizer, template=tuning.template)
        over = encoded.length - longest
        if over > 0:
            if tuning.too_long == "drop":
                dropped += 1
                continue
            if tuning.too_long == "error":
                faults.append(f"{example.source}: {encoded.length} tokens")
                continue
            shorter = _cut(encoded, over)
            if shorter is None:
                faults.append(f"{example.source}: {encoded.length} tokens, its answer alone too long")
                continue
            encoded, cut = shorter, cut + 1
        found.append(encoded)
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise TrainingError(
            f"examples are longer than {longest} tokens: {'; '.join(faults[:5])}{more}. Shorten them, or ask "
            "for too_long = cut (the beginning of what is asked goes) or drop. Nothing was trained."
        )
    if not found:
        raise TrainingError(
            f"no example is left: all {dropped} are longer than {longest} tokens. Shorten them."
            if dropped
            else "there are no examples. Give a file with some."
        )
    return EncodedSet(examples=tuple(found), longest=longest, cut=cut, dropped=dropped)


def encode_example(example: Example, tokenizer: Any, *, template: str) -> Encoded:
    """One example as tokens.

    Raises:
        TrainingError: nothing of it is an answer, or nothing stands before the answer.
    """
    said = asked(example, tokenizer, template=template)
    tokens: list[int] = [] if said.bare else [find_prefix(tokenizer).id]
    answer = [False] * len(tokens)
    for piece in said.pieces:
        ids = [int(i) for i in tokenizer(piece.text, add_special_tokens=False, verbose=False)["input_ids"]]
        tokens += ids
        answer += [piece.answer] * len(ids)
    end = tokenizer.eos_token_id
    if end is not None and tokens[-1] != end:
        tokens.append(int(end))
        answer.append(True)
    if answer[0] or not any(answer):
        raise TrainingError(
            f"{example.source}: its answer has no token, or nothing stands before it. Give a prompt and an "
            "answer."
        )
    return Encoded(
        source=example.source,
        tokens=np.array(tokens, dtype=np.int64),
        answer=np.array(answer, dtype=np.bool_),
        label=example.label,
        answer_bytes=sum(len(piece.text.encode()) for piece in said.pieces if piece.answer),
        answer_characters=sum(len(piece.text) for piece in said.pieces if piece.answer),
    )


def _cut(encoded: Encoded, over: int) -> Encoded | None:
    """The first token and the end of it; None where that would cut into the first answer."""
    if int(np.argmax(encoded.answer)) - 1 < over:
        return None
    keep = np.r_[0, np.arange(1 + over, encoded.length)]
    return replace(encoded, tokens=encoded.tokens[keep], answer=encoded.answer[keep])
