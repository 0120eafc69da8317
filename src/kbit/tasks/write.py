"""What a model writes after many prompts: side by side, each with its cache of keys and values."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from kbit.coders.logits import evaluating
from kbit.errors import ModelError
from kbit.models.decode import CoreDecoder, not_numbers, unserved
from kbit.models.decode.decoder import PANEL
from kbit.tasks.encode import Encoded

VERSION = 1
DEFAULT_BATCH = 16
Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """How answers are written.

    Attributes:
        max_new_tokens: at most so many.
        stop: the answer ends before any of these, once it has begun (spaces before it do not count).
        temperature: 0 takes the likeliest token each time; above it, tokens are drawn.
        keep_space: leave spaces around the answer, and let it end before a stop that comes at once.
        seed: of the draws; each item draws from a generator of its own, whatever its batch.
    """

    max_new_tokens: int
    stop: tuple[str, ...] = ("\n",)
    temperature: float = 0.0
    seed: int = 0
    keep_space: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An answer: its text, its number of tokens, and how it ended."""

    text: str
    tokens: int
    finish: Finish


def write_answers(
    model: Any, tokenizer: Any, encoded: Sequence[Encoded], how: Writing, *, batch_size: int | None = None
) -> Iterator[list[tuple[Encoded, Written]]]:
    """Write answers, a batch at a time; prompts of like length go together.

    Where the core serves the model, each step is one pass over the weights for all texts of a batch, without
    padding. Elsewhere Transformers' own `generate` does it, prompts padded on the left.

    Yields:
        Items of a batch, each with its answer.

    Raises:
        ModelError: the model's logits are not numbers.
    """
    size = batch_size or DEFAULT_BATCH
    order = sorted(encoded, key=lambda e: len(e.prompt))
    step = _by_core if unserved(model) is None else _by_transformers
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        with evaluating(model), torch.inference_mode():
            yield list(zip(batch, step(model, tokenizer, batch, how), strict=True))


def _by_core(model: Any, tokenizer: Any, batch: Sequence[Encoded], how: Writing) -> list[Written]:
    room = max(len(e.prompt) for e in batch) + how.max_new_tokens
    decoder = CoreDecoder(model, room=room, texts=len(batch))
    texts = [_Text(tokenizer, how, e) for e in batch]
    ends = end_tokens(model, tokenizer)
    for number, (text, e) in enumerate(zip(texts, batch, strict=True)):
        text.add(_choose(decoder.read(e.prompt, number), text, how), ends)
    while open_ := [i for i, text in enumerate(texts) if text.finish is None]:
        for start in range(0, len(open_), PANEL):
            panel = open_[start : start + PANEL]
            logits = decoder.step([texts[i].tokens[-1] for i in panel], panel)
            for i, row in zip(panel, logits, strict=True):
                texts[i].add(_choose(row, texts[i], how), ends)
    return [text.written for text in texts]


def _by_transformers(model: Any, tokenizer: Any, batch: Sequence[Encoded], how: Writing) -> list[Written]:
    longest = max(len(e.prompt) for e in batch)
    ends = end_tokens(model, tokenizer)
    pad = next(iter(sorted(ends)), 0)
    ids = torch.full((len(batch), longest), pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, e in enumerate(batch):
        ids[row, longest - len(e.prompt) :] = torch.tensor(e.prompt)
        mask[row, longest - len(e.prompt) :] = 1
    texts = [_Text(tokenizer, how, e) for e in batch]

    def chosen(given: Tensor, scores: Tensor) -> Tensor:
        """Every score but that of the token taken is put away, so that `generate` takes it."""
        taken = torch.full_like(scores, float("-inf"))
        for row, text in enumerate(texts):
            token = pad if text.finish else _choose(scores[row].float().cpu(), text, how)
            if text.finish is None:
                text.add(token, ends)
            taken[row, token] = 0.0
        return taken

    def stopped(given: Tensor, scores: Any, **_: Any) -> Tensor:
        return torch.tensor([text.finish is not None for text in texts], device=given.device)

    model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=how.max_new_tokens,
        max_length=None,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=pad,
        logits_processor=[chosen],
        stopping_criteria=[stopped],
    )
    return [text.written for text in texts]


def _choose(logits: Tensor, text: "_Text", how: Writing) -> int:
    if bool(torch.isnan(logits).any()):
        raise ModelError(not_numbers(len(text.tokens)))
    if how.temperature == 0:
        return int(logits.argmax())
    p = (logits.double() / how.temperature).softmax(dim=0)
    return int(torch.multinomial(p, 1, generator=text.generator))


class _Text:
    """An answer as it grows."""

    def __init__(self, tokenizer: Any, how: Writing, encoded: Encoded) -> None:
        self._tokenizer, self._how = tokenizer, how
        self.tokens: list[int] = []
        self.finish: Finish | None = None
        self._text = ""
        self.generator = torch.Generator()
        digest = hashlib.sha256(f"{how.seed} {encoded.item.name}".encode()).digest()
        self.generator.manual_seed(int.from_bytes(digest[:7], "little"))

    def add(self, token: int, ends: set[int]) -> None:
        if token in ends:
            self.finish = "end"
            return
        self.tokens.append(token)
        self._text = self._tokenizer.decode(
            self.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        begun = self._text if self._how.keep_space else self._text.lstrip()
        found = [at for stop in self._how.stop if (at := begun.find(stop)) >= 0]
        if found:
            self._text, self.finish = begun[: min(found)], "stop"
        elif len(self.tokens) >= self._how.max_new_tokens:
            self.finish = "length"

    @property
    def written(self) -> Written:
        return Written(
            text=self._text if self._how.keep_space else self._text.strip(),
            tokens=len(self.tokens),
            finish=self.finish or "length",
        )


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a text."""
    end = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if end is None:
        end = tokenizer.eos_token_id
    return {end} if isinstance(end, int) else set(end or ())
