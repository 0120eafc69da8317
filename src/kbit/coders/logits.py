"""A causal language model's logits, a few positions at a time.

The logits of 2048 positions over 128,000 tokens are a gigabyte in float32. So the model's body is run, and
its head on as many positions at a time as make about 16 million logits (32 MiB in bfloat16): many enough that
decoding a k-bit head anew for each is little beside the products. What is done with them goes a million at a
time (4 MiB in float32, which stay in the cache).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

HEAD_LOGITS = 1 << 24
PIECE_LOGITS = 1 << 20
PROBE_TOKENS = 16
TRAINED_ROWS = 64
"""In training a head's rows are filled up to a multiple of so many. Every step has another number of answer
tokens, and PyTorch's products keep kernels and buffers for each number: gigabytes in some hundred steps."""


class LogitReader:
    """Reads logits of chosen positions from a Transformers causal language model.

    Some models do more than apply a head (they cap or scale logits), which `head(body(x))` would leave out.
    So the two ways are compared on a few tokens when the reader is made, and if they differ in one bit the
    model is run whole: right for every model, at the memory of all logits of a batch.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.vocabulary = int(text_config(model.config).vocab_size)
        self.dtype, self._parts = self._probe()

    @property
    def in_chunks(self) -> bool:
        """Whether the head is applied a few positions at a time."""
        return self._parts is not None

    def pieces(self, ids: Tensor, mask: Tensor | None, wanted: Tensor) -> Iterator[Tensor]:
        """Logits at the wanted positions, in order, float32 [positions of the piece, vocabulary].

        Args:
            ids: tokens, int64 [windows, length].
            mask: 1 where there is a token and 0 where there is padding, [windows, length]; None for all ones.
            wanted: bool [windows, length].
        """
        if self._parts is None:
            yield from self._small(self.model(ids, attention_mask=mask, use_cache=False).logits[wanted])
            return
        body, head = self._parts
        hidden = body(ids, attention_mask=mask, use_cache=False)[0][wanted]
        for rows in torch.split(hidden, max(1, HEAD_LOGITS // self.vocabulary)):
            count = len(rows)
            if torch.is_grad_enabled():
                rows = torch.nn.functional.pad(rows, (0, 0, 0, -count % TRAINED_ROWS))
            yield from self._small(head(rows)[:count])

    def _small(self, logits: Tensor) -> Iterator[Tensor]:
        for piece in torch.split(logits, max(1, PIECE_LOGITS // self.vocabulary)):
            yield piece.float()

    def _probe(self) -> tuple[torch.dtype, tuple[Any, Any] | None]:
        head, body = self.model.get_output_embeddings(), self.model.base_model
        ids = torch.arange(min(PROBE_TOKENS, self.vocabulary), device=self.model.device)[None]
        with evaluating(self.model), torch.inference_mode():
            whole = self.model(ids, use_cache=False).logits
            apart = head is not None and body is not self.model
            alike = apart and torch.equal(whole, head(body(ids, use_cache=False)[0]))
        return whole.dtype, ((body, head) if alike else None)


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Models without dropout and the like; as they were, afterwards."""
    training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, was in zip(models, training, strict=True):
            model.train(was)


def text_config(config: Any) -> Any:
    """The part of a configuration that speaks of text."""
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def max_positions(config: Any) -> int | None:
    """The most tokens a model can read, or None where its configuration sets no limit."""
    config = text_config(config)
    for key in ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "n_ctx"):
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
