"""The distribution tokens are drawn from: a model's own, made sharper and cut off."""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from kbit.errors import UsageError

Settings: TypeAlias = dict[str, float | int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token each time.
        top_k: then only so many likeliest tokens are left; 0 for all.
        top_p: then only the likeliest that together have this probability; 1 for all.
        max_new_tokens: at most so many.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(
                f"temperature must be 0 (the likeliest token) or more, given {self.temperature}."
            )
        if self.top_k < 0:
            raise UsageError(f"top_k must be 0 (all tokens) or more, given {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1 (all tokens), given {self.top_p}.")
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens must be at least 1, given {self.max_new_tokens}.")

    @property
    def settings(self) -> Settings:
        """For an identity: what does nothing at temperature 0 is left out."""
        sampling: Settings = {"top_k": self.top_k, "top_p": self.top_p} if self.temperature > 0 else {}
        return {"temperature": self.temperature, **sampling, "max_new_tokens": self.max_new_tokens}

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability of each token under this decoding, float64 [rows, vocabulary].

        In the order of Transformers: temperature, then top-k (ties with the last one stay in), then top-p
        (the token that crosses the threshold stays in).

        Args:
            logits: [rows, vocabulary].
        """
        scores = logits.double()
        if self.temperature == 0:
            return torch.zeros_like(scores).scatter_(1, scores.argmax(dim=1, keepdim=True), 1.0)
        scores = scores / self.temperature
        if 0 < self.top_k < scores.shape[1]:
            last = scores.topk(self.top_k, dim=1).values[:, -1:]
            scores = scores.masked_fill(scores < last, float("-inf"))
        p = scores.softmax(dim=1)
        if self.top_p < 1:
            ordered, places = p.sort(dim=1, descending=True, stable=True)
            before = ordered.cumsum(dim=1) - ordered
            p = torch.zeros_like(p).scatter_(1, places, ordered.masked_fill(before >= self.top_p, 0.0))
            p = p / p.sum(dim=1, keepdim=True)
        return p
