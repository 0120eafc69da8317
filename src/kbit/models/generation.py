"""Continue a prompt: sampling with a seed, text as it is made."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from kbit.errors import ModelError, UsageError, did_you_mean
from kbit.models.cache_facts import cache_facts
from kbit.models.decode import Chooser, CoreDecoder, Sampling, not_numbers, unserved
from kbit.models.text_stream import TextStream

ENGINES = ("auto", "core", "transformers")
"""core: a step of the model is one call of the C++ core. auto: core where it serves the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A continuation.

    Attributes:
        text: the new text, without the prompt, and without the stop string that ended it.
        tokens: the new tokens, an end-of-text token among them.
        prompt_tokens: how many tokens the prompt was.
        seed: of the sampling; the same seed, settings and kernels give the same text.
        temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens: as asked for.
        finish: `end` (the model ended the text), `stop` (a stop string came), `length` (as many tokens as
            asked for), `context` (the model reads no more) or `interrupted`.
        engine: `core` or `transformers`.
        engine_reason: why the core did not serve the model; None where it did, or was not asked to.
        tokens_per_s: new tokens over the time from the first step to the last, the prompt's among it.
        first_token_s: until the first new token.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    seed: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    max_new_tokens: int
    finish: Literal["end", "stop", "length", "context", "interrupted"]
    engine: str
    engine_reason: str | None
    tokens_per_s: float
    first_token_s: float | None


def generate(
    model: Any,
    tokenizer: Any,
    prompt: str,
    *,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 50,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    stop: Sequence[str] = (),
    seed: int | None = None,
    stream: Callable[[str], None] | None = None,
    engine: str = "auto",
    cache_bits: int | None = None,
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
        min_p: sample among tokens at least this times as likely as the likeliest.
        repetition_penalty: above 1, tokens that occurred become less likely.
        stop: end the text before any of these.
        seed: of the sampling; drawn and reported where None. PyTorch's own generators are left as they were.
        stream: called with each piece of text as soon as it is whole.
        engine: one of `ENGINES`.
        cache_bits: of keys and values in the core: 8, 16 or 32; the model's own where None.

    Raises:
        UsageError: a setting out of range.
        ModelError: the prompt fills the model's context, cannot be begun, or `core` does not serve the model.
    """
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    _check(max_new_tokens, seed, stop, engine)
    reason = unserved(model) if engine != "transformers" else None
    if engine == "core" and reason is not None:
        raise ModelError(f"{reason}: use --engine auto or transformers.")
    by_core = engine != "transformers" and reason is None
    if not by_core and cache_bits is not None:
        raise UsageError(
            "cache_bits is a setting of the core's step"
            + (f", which does not serve this model: {reason}." if reason else "; use --engine core.")
        )
    ids = _encode(model, tokenizer, prompt)
    context = cache_facts(model.config.to_dict())["max_context"]
    room = max_new_tokens if context is None else min(max_new_tokens, context - len(ids))
    if room < 1:
        raise ModelError(
            f"the prompt is {len(ids)} tokens, and the model reads at most {context}. Give a "
            f"prompt of at most {(context or 1) - 1} tokens."
        )
    seed = secrets.randbits(32) if seed is None else seed
    streamer = _Streamer(TextStream(tokenizer, ids), stream, prompt_tokens=len(ids), stop=stop)
    ends = _ends(model, tokenizer)
    devices = [model.device] if model.device.type == "cuda" else []
    interrupted = False
    start = time.perf_counter()
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        try:
            if by_core:
                decoder = CoreDecoder(model, room=len(ids) + room, cache_bits=cache_bits)
                _by_core(decoder, ids, room, Chooser(sampling), ends, streamer)
            else:
                _by_transformers(model, ids, room, sampling, ends, streamer)
        except KeyboardInterrupt:
            interrupted = True
    streamer.end()
    wall_s = time.perf_counter() - start
    tokens = tuple(streamer.tokens)
    finish: Literal["end", "stop", "length", "context", "interrupted"]
    if interrupted:
        finish = "interrupted"
    elif tokens and tokens[-1] in ends:
        finish = "end"
    elif streamer.stopped:
        finish = "stop"
    else:
        finish = "length" if room == max_new_tokens else "context"
    return Generated(
        text="".join(streamer.pieces),
        tokens=tokens,
        prompt_tokens=len(ids),
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        max_new_tokens=max_new_tokens,
        finish=finish,
        engine="core" if by_core else "transformers",
        engine_reason=reason,
        tokens_per_s=len(tokens) / wall_s,
        first_token_s=None if streamer.first is None else streamer.first - start,
    )


def _by_core(
    decoder: CoreDecoder,
    ids: Sequence[int],
    room: int,
    chooser: Chooser,
    ends: set[int],
    streamer: "_Streamer",
) -> None:
    logits, seen = decoder.read(ids), list(ids)
    for number in range(room):
        token = chooser.choose(logits, seen)
        seen.append(token)
        streamer.add(token)
        if token in ends or streamer.stopped or number + 1 == room:
            return
        logits = decoder.step([token])[0]


def _by_transformers(
    model: Any, ids: Sequence[int], room: int, sampling: Sampling, ends: set[int], streamer: "_Streamer"
) -> None:
    given = torch.tensor([ids], device=model.device)

    def stopped(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((len(ids),), streamer.stopped, device=ids.device)

    model.generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=room,
        max_length=None,
        eos_token_id=sorted(ends) or None,
        pad_token_id=next(iter(sorted(ends)), 0),
        streamer=streamer,
        logits_processor=[_numbers],
        stopping_criteria=[stopped],
        **sampling.transformers(),
    )


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a text."""
    end = model.generation_config.eos_token_id
    if end is None:
        end = tokenizer.eos_token_id
    return {end} if isinstance(end, int) else set(end or ())


class _Streamer:
    """Collects tokens and their text; what Transformers calls with the prompt and then with each token."""

    def __init__(
        self,
        text: TextStream,
        give: Callable[[str], None] | None,
        *,
        prompt_tokens: int,
        stop: Sequence[str] = (),
    ) -> None:
        self._text, self._give, self._skip, self._stop = text, give, prompt_tokens, tuple(stop)
        self._held = ""  # text that may turn out to begin a stop string
        self.pieces: list[str] = []
        self.tokens: list[int] = []
        self.stopped = False
        self.first: float | None = None

    def put(self, value: torch.Tensor) -> None:
        tokens = value.reshape(-1).tolist()
        skipped, self._skip = tokens[self._skip :], max(0, self._skip - len(tokens))
        for token in skipped:
            self.add(token)

    def add(self, token: int) -> None:
        """Take one new token."""
        if self.first is None:
            self.first = time.perf_counter()
        self.tokens.append(token)
        self._add(self._text.push(token))

    def end(self) -> None:
        """Give what was held back. Transformers calls it too; a second time does nothing."""
        if not self.stopped:
            self._add(self._text.end())
            self._say(self._held)
            self._held = ""

    def _add(self, piece: str) -> None:
        if self.stopped or not piece:
            return
        text = self._held + piece
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            self._say(text[: min(found)])
            return
        # Keep back the longest end of the text that begins a stop string.
        held = max(
            (n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
        )
        self._held = text[len(text) - held :]
        self._say(text[: len(text) - held])

    def _say(self, piece: str) -> None:
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
        raise ModelError(not_numbers(ids.shape[1]))
    return scores


def _check(max_new_tokens: int, seed: int | None, stop: Sequence[str], engine: str) -> None:
    if seed is not None and not 0 <= seed < 2**63:
        raise UsageError(f"seed must be 0 to 2^63 - 1, given {seed}.")
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, given {max_new_tokens}.")
    if isinstance(stop, str) or not all(stop):
        raise UsageError(f"stop must be a list of texts, none of them empty, given {stop!r}.")
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}: {did_you_mean(engine, ENGINES)}")
