"""One forward pass that goes on from what the model has read before."""

import inspect
from functools import cache
from typing import Any

from torch import Tensor

# Transformers 5.24 has renamed the argument and the field; models of one's own may have any of these.
CACHE_NAMES = ("cache", "past_key_values", "cache_params")


def cached_step(model: Any, ids: Tensor, kept: Any) -> tuple[Tensor, Any]:
    """Read further tokens.

    Args:
        model: a Transformers causal language model.
        ids: int64 [rows, tokens], those the model has not read yet.
        kept: what the call before returned; None at the beginning.

    Returns:
        Logits [rows, tokens, vocabulary], and what the next call takes (None: this model keeps nothing, and
        must be given its whole text again).
    """
    kind: Any = type(model)
    name = _cache_name(kind)
    out = model(ids, **{name: kept}, use_cache=True)
    logits: Tensor = out.logits
    return logits, getattr(out, name, None)


@cache
def _cache_name(kind: Any) -> str:
    known = inspect.signature(kind.forward).parameters
    return next((name for name in CACHE_NAMES if name in known), CACHE_NAMES[1])
