"""Continuations of many prompts, with the bits of each token under the decoding and under the model."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kbit.coders.logits import evaluating, max_positions
from kbit.coders.tokens import find_prefix, tokenise
from kbit.corpus import Document
from kbit.errors import ModelError, UsageError
from kbit.information.generated.decoding import Decoding
from kbit.models.cached_step import cached_step

VERSION = 1
LN2 = math.log(2)
DEFAULT_BATCH = 16
Finish = Literal["end", "length", "context"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt as a model reads it.

    Attributes:
        source: name of the document.
        text: of the prompt.
        ids: its tokens, the prefix before them.
    """

    source: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One continuation that is to be made."""

    prompt: Prompt
    seed: int
    sample: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One continuation.

    Attributes:
        tokens: drawn tokens, without the end-of-text token.
        decoding_bits: of each, -log2 of the probability it was drawn with.
        model_bits: of each, -log2 of its probability under the model itself.
        end: the two for the end-of-text token, where it was drawn.
        finish: `end` (the model ended the text), `length` (as many tokens as asked for) or `context` (the
            model reads no more).
    """

    wanted: Wanted
    text: str
    tokens: tuple[int, ...]
    decoding_bits: tuple[float, ...]
    model_bits: tuple[float, ...]
    end: tuple[float, float] | None
    finish: Finish


def make_prompts(
    tokenizer: Any,
    documents: Iterable[Document],
    *,
    prompt_tokens: int | None,
    prefix: str | int | None = None,
) -> list[Prompt]:
    """Prompts from documents: whole, or their first tokens.

    Args:
        tokenizer: the model's.
        documents: one a prompt; an empty one begins a new text.
        prompt_tokens: so many tokens of each, fewer where the cut would fall into a character; None for all.
        prefix: the token before; by default begin-of-text, else end-of-text.

    Raises:
        UsageError: two documents share a name, or the number of tokens is negative.
    """
    if prompt_tokens is not None and prompt_tokens < 0:
        raise UsageError(f"{prompt_tokens} tokens of each prompt are asked for; give 0 or more.")
    head = find_prefix(tokenizer, prefix).id
    found: list[Prompt] = []
    names: set[str] = set()
    for document in documents:
        if document.name in names:
            raise UsageError(f"two prompts are called {document.name!r}. Give each a name of its own.")
        names.add(document.name)
        ids = tokenise(tokenizer, document).ids
        if prompt_tokens is not None:
            ids = ids[: whole_characters(tokenizer, ids, document.text, prompt_tokens)]
        text = document.text if prompt_tokens is None else decoded(tokenizer, ids)
        found.append(Prompt(source=document.name, text=text, ids=(head, *ids)))
    return found


def human_continuation(
    tokenizer: Any, document: Document, *, prompt_tokens: int, new_tokens: int
) -> tuple[str, str]:
    """What a document itself says after its first tokens: prompt and continuation of so many tokens."""
    ids = tokenise(tokenizer, document).ids
    cut = whole_characters(tokenizer, ids, document.text, prompt_tokens)
    end = whole_characters(tokenizer, ids, document.text, min(len(ids), cut + new_tokens))
    prompt, whole = decoded(tokenizer, ids[:cut]), decoded(tokenizer, ids[: max(cut, end)])
    return prompt, whole[len(prompt) :]


def whole_characters(tokenizer: Any, ids: Sequence[int], text: str, tokens: int) -> int:
    """The largest number of tokens, at most so many, whose text is a beginning of the document's."""
    for cut in range(min(tokens, len(ids)), 0, -1):
        if text.startswith(decoded(tokenizer, ids[:cut])):
            return cut
    return 0


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of tokens."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def produce(
    model: Any,
    tokenizer: Any,
    wanted: Sequence[Wanted],
    decoding: Decoding,
    *,
    batch_size: int = DEFAULT_BATCH,
) -> Iterator[list[Made]]:
    """Make continuations, a batch at a time.

    Prompts of one length go together, so no text depends on padding. Each continuation draws from a generator
    of its own, made from seed, prompt and number, so neither its batch nor an interruption changes it, but
    by the rounding of sums that a kernel adds in another order.

    Raises:
        ModelError: a prompt fills the model's context, or logits are not numbers.
        UsageError: the batch size is not positive.
    """
    if batch_size < 1:
        raise UsageError(f"the batch size is {batch_size}; give at least 1.")
    longest = max_positions(model.config)
    lengths: dict[int, list[Wanted]] = defaultdict(list)
    for item in wanted:
        if longest is not None and len(item.prompt.ids) >= longest:
            raise ModelError(
                f"the prompt {item.prompt.source!r} is {len(item.prompt.ids)} tokens, and the model reads at "
                f"most {longest}. Take fewer of it with --prompt-tokens."
            )
        lengths[len(item.prompt.ids)].append(item)
    ends = _ends(model, tokenizer)
    for length, group in sorted(lengths.items()):
        room = decoding.max_new_tokens if longest is None else min(decoding.max_new_tokens, longest - length)
        for start in range(0, len(group), batch_size):
            batch = group[start : start + batch_size]
            with evaluating(model), torch.inference_mode():
                yield _batch(model, tokenizer, batch, decoding, room=room, ends=ends)


def _batch(
    model: Any, tokenizer: Any, batch: Sequence[Wanted], decoding: Decoding, *, room: int, ends: set[int]
) -> list[Made]:
    generators = [_generator(item) for item in batch]
    given = torch.tensor([item.prompt.ids for item in batch], device=model.device)
    tokens: list[list[int]] = [[] for _ in batch]
    drawn_bits: list[list[float]] = [[] for _ in batch]
    own_bits: list[list[float]] = [[] for _ in batch]
    end: list[tuple[float, float] | None] = [None] * len(batch)
    past = None
    for _ in range(room):
        logits, past = cached_step(model, given, past)
        chosen, drawn, own = _draw(logits[:, -1].float(), decoding, generators)
        given = chosen[:, None]
        for i, (token, q, p) in enumerate(zip(chosen.tolist(), drawn, own, strict=True)):
            if end[i] is not None:
                continue
            if token in ends:
                end[i] = (q, p)
                continue
            tokens[i].append(token)
            drawn_bits[i].append(q)
            own_bits[i].append(p)
        if all(e is not None for e in end):
            break
    return [
        Made(
            wanted=item,
            text=decoded(tokenizer, [*item.prompt.ids, *tokens[i]])[
                len(decoded(tokenizer, item.prompt.ids)) :
            ],
            tokens=tuple(tokens[i]),
            decoding_bits=tuple(drawn_bits[i]),
            model_bits=tuple(own_bits[i]),
            end=end[i],
            finish="end" if end[i] else "length" if room == decoding.max_new_tokens else "context",
        )
        for i, item in enumerate(batch)
    ]


def _draw(
    logits: Tensor, decoding: Decoding, generators: Sequence[np.random.Generator]
) -> tuple[Tensor, list[float], list[float]]:
    """A token for each row, its bits as drawn and its bits under the model."""
    if not torch.isfinite(logits.max(dim=1).values).all() or torch.isnan(logits).any():
        raise ModelError(
            "the model's logits are not numbers: its weights are damaged. Copy or quantise it again."
        )
    p = decoding.probabilities(logits)
    cumulative = p.cumsum(dim=1)
    uniform = torch.tensor([[g.random()] for g in generators], dtype=torch.float64, device=logits.device)
    # The first token whose sum is above the draw: one without probability is never taken.
    chosen = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    chosen = torch.minimum(chosen, _last_possible(p))
    drawn = -p.gather(1, chosen).log2()[:, 0] + 0.0
    own = -logits.double().log_softmax(dim=1).gather(1, chosen)[:, 0] / LN2
    return chosen[:, 0], drawn.tolist(), own.tolist()


def _last_possible(p: Tensor) -> Tensor:
    places = torch.arange(p.shape[1], device=p.device).expand_as(p)
    return places.masked_fill(p == 0, 0).max(dim=1, keepdim=True).values


def _generator(item: Wanted) -> np.random.Generator:
    prompt = hashlib.sha256(item.prompt.text.encode()).digest()[:8]
    return np.random.default_rng([item.seed, int.from_bytes(prompt, "little"), item.sample])


def _ends(model: Any, tokenizer: Any) -> set[int]:
    end = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if end is None:
        end = tokenizer.eos_token_id
    return {end} if isinstance(end, int) else set(end or ())


def record(made: Made, decoding: Decoding, told: dict[str, Any]) -> dict[str, Any]:
    """A line of the file of continuations."""
    wanted = made.wanted
    digits: Callable[[float], float] = lambda bits: round(bits, 6)  # noqa: E731
    return {
        "name": f"{wanted.prompt.source}#{wanted.seed}.{wanted.sample}",
        "source": wanted.prompt.source,
        "prompt": wanted.prompt.text,
        "text": made.text,
        **told,
        "seed": wanted.seed,
        "sample": wanted.sample,
        "temperature": decoding.temperature,
        "top_k": decoding.top_k,
        "top_p": decoding.top_p,
        "max_new_tokens": decoding.max_new_tokens,
        "finish": made.finish,
        "tokens": list(made.tokens),
        "decoding_bits": [digits(b) for b in made.decoding_bits],
        "model_bits": [digits(b) for b in made.model_bits],
        "end_bits": None if made.end is None else [digits(b) for b in made.end],
    }
