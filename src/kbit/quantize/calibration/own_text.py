"""A model's own text: calibration without any data but the model."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from kbit.errors import ModelError, UsageError
from kbit.models.cached_step import cached_step
from kbit.quantize.calibration.text import LEAST_TOKENS, Calibration, prefix_of

# Texts written side by side.
BATCH = 32


def calibration_from_itself(
    model: Any, tokenizer: Any, *, context: int, tokens: int, seed: int = 0
) -> Calibration:
    """Let the model write: each token drawn from its own distribution, as it is (no top-k, temperature 1).

    Args:
        model: the 16-bit model, as loaded.
        tokenizer: its tokeniser, for the token that begins a text.
        context: tokens in a window, the prefix among them.
        tokens: at least so many in all are written, less than one batch more.
        seed: of the drawing.

    Raises:
        UsageError: fewer than 256 tokens asked for, or a context below 2.
        ModelError: the model gives no numbers.
    """
    if tokens < LEAST_TOKENS or context < 2:
        raise UsageError(
            f"{tokens} tokens in windows of {context}: give at least {LEAST_TOKENS} in at least 2."
        )
    generator = torch.Generator().manual_seed(seed)
    prefix = prefix_of(tokenizer)
    windows: list[Tensor] = []
    while sum(map(len, windows)) < tokens:
        count = min(BATCH, -(-(tokens - sum(map(len, windows))) // context))
        windows += _write(model, prefix, count, context, generator)
    digest = hashlib.sha256(b"kbit own text 1\n")
    for window in windows:
        digest.update(window.numpy().tobytes())
    return Calibration(
        kind="own",
        windows=tuple(windows),
        documents=(),
        hash=digest.hexdigest(),
        seed=seed,
        context=context,
    )


@torch.inference_mode()
def _write(model: Any, prefix: int, count: int, context: int, generator: torch.Generator) -> list[Tensor]:
    """`count` windows; a text that ends is followed by another, as in a stream of documents."""
    written = torch.full((count, 1), prefix, dtype=torch.int64)
    cache = None
    while written.shape[1] < context:
        logits, cache = cached_step(model, written[:, -1:], cache)
        chances = logits[:, -1].float().softmax(dim=-1)
        if not bool(torch.isfinite(chances).all()):
            raise ModelError(
                "the model gives NaN instead of chances, so it cannot write text to calibrate on."
            )
        written = torch.cat([written, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return list(written.clone())
