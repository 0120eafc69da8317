"""A language model token by token, with its cache: the same calls whether a text is written or read."""

import hashlib
from typing import Any

import numpy as np
import torch

from kbit.coders.logits import LogitReader
from kbit.coders.predictor import Floats
from kbit.coders.scoring import Batching
from kbit.coders.tokens import tokeniser_spelling
from kbit.errors import CoderError
from kbit.models.cached_step import cached_step


class LanguageModelPredictor:
    """Predicts tokens over the windows of a `WindowPlan`.

    The first window grows token by token from the prefix. A further one begins with what the plan lets it
    read again, in one pass. So each token is predicted from the same tokens as in `code_lengths`; the figures
    differ by rounding only, because there whole windows are run at once.
    """

    def __init__(self, model: Any, reader: LogitReader, batching: Batching, *, name: str) -> None:
        self._model, self._vocabulary, self._batching, self._name = model, reader.vocabulary, batching, name
        self._tokens: list[int] = []
        self._window = 0
        self._cache: Any = None
        self._read = 0  # tokens of this window, the head among them, that the cache holds

    def probabilities(self) -> Floats:
        """Softmax of the next token's logits; float32 logits, float64 [vocabulary]."""
        plan, done = self._batching.plan, len(self._tokens)
        start = self._window * plan.stride
        if done >= start + plan.context:
            self._window += 1
            start += plan.stride
            self._cache, self._read = None, 0
        window = [self._head(start), *self._tokens[start:]]
        with torch.inference_mode():
            logits = self._logits(window)
        if not torch.isfinite(logits).any() or torch.isnan(logits).any():
            raise CoderError(
                f"{self._name} gives logits for token {done} that are not numbers. Try --dtype float32; "
                "if that does not help, the weights are damaged."
            )
        values = logits.double().cpu().numpy()
        weights = np.exp(values - values.max())
        probability: Floats = weights / weights.sum()
        return probability

    def advance(self, symbol: int) -> None:
        """Go past a token."""
        self._tokens.append(symbol)

    def _head(self, start: int) -> int:
        batching = self._batching
        return batching.prefix if start == 0 or batching.repeat_prefix else self._tokens[start - 1]

    def _logits(self, window: list[int]) -> torch.Tensor:
        new = torch.tensor([window[self._read :]], device=self._model.device)
        logits, self._cache = cached_step(self._model, new, self._cache)
        # A model that keeps nothing reads its whole window each time.
        self._read = 0 if self._cache is None else len(window)
        last: torch.Tensor = logits[0, -1, : self._vocabulary].float()
        return last


def weights_hash(model: Any, tokenizer: Any) -> str:
    """SHA-256 of a model's tensors and its tokeniser: who is to give a text back must have the same."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    found.update(tokeniser_spelling(tokenizer).encode())
    return found.hexdigest()
