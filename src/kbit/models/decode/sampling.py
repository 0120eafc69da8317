"""Choosing the next token, as Transformers does: its own processors of logits, in its order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kbit.errors import ModelError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 takes the likeliest token each time.
        top_k: among this many likeliest tokens; 0 among all.
        top_p: among the likeliest tokens that together have this probability.
        min_p: among tokens at least this times as likely as the likeliest; 0 among all.
        repetition_penalty: above 1, tokens that occurred become less likely (Keskar et al. 2019).

    Raises:
        UsageError: a setting out of range.
    """

    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(
                f"temperature must be 0 (the likeliest token) or more, given {self.temperature}."
            )
        if self.top_k < 0:
            raise UsageError(f"top_k must be 0 (all tokens) or more, given {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1 (all tokens), given {self.top_p}.")
        if not 0 <= self.min_p < 1:
            raise UsageError(f"min_p must be 0 (all tokens) or more and below 1, given {self.min_p}.")
        if not 0 < self.repetition_penalty < float("inf"):
            raise UsageError(
                f"repetition_penalty must be above 0 (1 changes nothing), given {self.repetition_penalty}."
            )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken each time."""
        return self.temperature == 0

    def transformers(self) -> dict[str, Any]:
        """The same as keywords of a Transformers `generate`."""
        shared = {"repetition_penalty": self.repetition_penalty}
        if self.greedy:
            return shared | {"do_sample": False}
        return shared | {
            "do_sample": True,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p or None,
        }

    def processors(self) -> Any:
        """What changes the logits before a token is drawn, as `generate` of Transformers puts it together."""
        from transformers import (
            LogitsProcessorList,
            MinPLogitsWarper,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        made = LogitsProcessorList()
        if self.repetition_penalty != 1:
            made.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.greedy:
            return made
        if self.temperature != 1:
            made.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            made.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            made.append(TopPLogitsWarper(self.top_p))
        if self.min_p:
            made.append(MinPLogitsWarper(self.min_p))
        return made


class Chooser:
    """Draws one token after another; the random numbers are those of PyTorch's present generator."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling, self._processors = sampling, sampling.processors()

    def choose(self, logits: Tensor, seen: Sequence[int]) -> int:
        """The next token after `seen`.

        Args:
            logits: [vocabulary], float32.
            seen: all tokens so far, the prompt among them.

        Raises:
            ModelError: the logits are not numbers.
        """
        scores = logits[None]
        if not math.isfinite(float(scores.sum())) and bool(torch.isnan(scores).any()):
            raise ModelError(not_numbers(len(seen)))
        if len(self._processors):
            scores = self._processors(torch.tensor([seen]), scores)
        if self._sampling.greedy:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1), 1))


def not_numbers(tokens: int) -> str:
    """The message for logits that are not numbers."""
    return (
        f"the model's logits after token {tokens} are not numbers: its weights are damaged. "
        "Copy or quantise it again."
    )
