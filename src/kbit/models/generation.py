"""Continue a prompt: sampling with a seed, text as it is made."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from kbit.errors import ModelError, UsageError
from kbit.models.cache_facts import cache_facts
from kbit.models.text_stream import TextStream


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A continuation.

    Attributes:
        text: the new text, without the prompt.
        tokens: the new tokens, an end-of-text token among them.
        prompt_tokens: how many tokens the prompt was.
        seed: of the sampling; the same seed, settings and kernels give the same text.
        temperature, top_k, top_p, max_new_tokens: as asked for.
        finish: `end` (the model ended the text), `length` (as many tokens as asked for) or `context` (the
            model reads no more).
        tokens_per_s: new tokens over the time from the first step to the last, the prompt's among it.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    seed: int
    temperature: float
    top_k: int
    top_p: float
    max_new_tokens: int
    finish: Literal["end", "length", "context"]
    tokens_per_s: float


def generate(
    model: Any,
    tokenizer: Any,
    prompt: str,
    *,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 50,
    top_p: float = 1.0,
    seed: int | None = None,
    stream: Callable[[str], None] | None = None,
) -> Generated:
    """Continue a prompt with any causal language model, k-bit or not.

    Args:
        model: a `PreTrainedModel`.
        tokenizer: its tokeniser.
        prompt: the text to continue; an empty one begins a new text.
        max_new_tokens: at most this many; fewer where the model's context ends.
        temperature: of the sampling; 0 takes the likeliest token each time.
        top_k: sample among this many likeliest tokens; 0 among all.
        top_p: sample among the likeliest tokens that together have this probability.
        seed: of the sampling; drawn and reported where None. PyTorch's own generators are left as they were.
        stream: called with each piece of text as soon as it is whole.

    Raises:
        UsageError: a setting out of range.
        ModelError: the prompt fills the model's context, or cannot be begun.
    """
    _check(max_new_tokens, temperature, top_k, top_p, seed)
    ids = _encode(model, tokenizer, prompt)
    context = cache_facts(model.config.to_dict())["max_context"]
    room = max_new_tokens if context is None else min(max_new_tokens, context - len(ids))
    if room < 1:
        raise ModelError(
            f"the prompt is {len(ids)} tokens, and the model reads at most {context}. Give a "
            f"prompt of at most {(context or 1) - 1} tokens."
        )
    seed = secrets.randbits(32) if seed is None else seed
    streamer = _Streamer(TextStream(tokenizer, ids), stream, prompt_tokens=len(ids))
    settings: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        settings = {"do_sample": True, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    given = torch.tensor([ids], device=model.device)
    end = model.generation_config.eos_token_id
    if end is None:
        end = tokenizer.eos_token_id
    ends = {end} if isinstance(end, int) else set(end or ())
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        start = time.perf_counter()
        output = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=room,
            max_length=None,
            eos_token_id=sorted(ends) or None,
            pad_token_id=next(iter(sorted(ends)), 0),
            streamer=streamer,
            logits_processor=[_numbers],
            **settings,
        )
        wall_s = time.perf_counter() - start
    tokens = tuple(output[0, len(ids) :].tolist())
    ended = bool(tokens) and tokens[-1] in ends
    return Generated(
        text="".join(streamer.pieces),
        tokens=tokens,
        prompt_tokens=len(ids),
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        finish="end" if ended else "length" if room == max_new_tokens else "context",
        tokens_per_s=len(tokens) / wall_s,
    )


class _Streamer:
    """What Transformers calls with the prompt and then with each token."""

    def __init__(self, text: TextStream, give: Callable[[str], None] | None, *, prompt_tokens: int) -> None:
        self._text, self._give, self._skip = text, give, prompt_tokens
        self.pieces: list[str] = []

    def put(self, value: torch.Tensor) -> None:
        tokens = value.reshape(-1).tolist()
        skipped, self._skip = tokens[self._skip :], max(0, self._skip - len(tokens))
        for token in skipped:
            self._add(self._text.push(token))

    def end(self) -> None:
        self._add(self._text.end())

    def _add(self, piece: str) -> None:
        if piece:
            self.pieces.append(piece)
            if self._give is not None:
                self._give(piece)


def _encode(model: Any, tokenizer: Any, prompt: str) -> list[int]:
    ids: list[int] = list(tokenizer(prompt)["input_ids"])
    if ids:
        return ids
    first = tokenizer.bos_token_id
    if first is None:
        first = tokenizer.eos_token_id
    if first is None:
        raise ModelError(
            "an empty prompt, and the tokeniser has neither a begin- nor an end-of-text token to start "
            "from. Give a prompt."
        )
    return [first]


def _numbers(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Scores as they are; refused where they are none. A processor of logits, as Transformers calls it."""
    if torch.isnan(scores).any():
        raise ModelError(
            f"the model's logits after token {ids.shape[1]} are not numbers: its weights are damaged. "
            "Copy or quantise it again."
        )
    return scores


def _check(max_new_tokens: int, temperature: float, top_k: int, top_p: float, seed: int | None) -> None:
    if seed is not None and not 0 <= seed < 2**63:
        raise UsageError(f"seed must be 0 to 2^63 - 1, given {seed}.")
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, given {max_new_tokens}.")
    if not 0 <= temperature < float("inf"):
        raise UsageError(f"temperature must be 0 (the likeliest token) or more, given {temperature}.")
    if top_k < 0:
        raise UsageError(f"top_k must be 0 (all tokens) or more, given {top_k}.")
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p must be above 0 and at most 1 (all tokens), given {top_p}.")
