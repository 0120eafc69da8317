"""How much memory a model needs while it generates, item by item.

    weights  = stored_bits / 8
    cache    = context · batch · 2 · layers · kv_heads · head_dim · kv_bits / 8
               (a sliding layer keeps at most its window; a layer that shares another's cache keeps none)
    working  = batch · (context · max(mlp, attention) · 2 bytes + vocabulary · 8 bytes) + kernel + objects
      mlp       = 3 · hidden + 3 · intermediate + 2 · head_dim
      attention = 2 · hidden + (4 · heads + 2 · kv_heads + 2) · head_dim
      kernel    = what a product with packed weights needs beside its input and output
      objects   = 60 KiB + 50 KiB · layers: Python's, of the modules; it matters for tiny models only

Working space is the widest moment of a forward pass over a whole prompt, in 16 bits: in a gated feed-forward
layer the residual stream, its copy that enters the layer and the normalised one, and the three arrays as wide
as the layer; in attention the queries, keys and values, and what turning them by their position takes; in
both the tables of sines and cosines. To it come one row of logits for each sequence, in 32 bits with a copy,
and the kernel's own space (`kbit.advise.workspace`). `benchmarks/memory_promise.py` holds all this against
resident memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kbit.errors import UsageError

GIB = 2**30
ACTIVATION_BYTES = 2
LOGIT_BYTES = 8
OBJECT_BYTES, LAYER_OBJECT_BYTES = 60 * 1024, 50 * 1024
FACTS = ("layers", "kv_heads", "head_dim", "hidden_size", "intermediate_size", "vocab_size")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Memory of one model at one context and batch, in bytes.

    Attributes:
        weights_bytes: as stored on disk.
        kv_bytes_per_token: of the whole batch, while no layer's window is full.
        kv_bytes: of the cache at this context; where windows slide, less than context times
            `kv_bytes_per_token`.
        working_bytes: activations at this context, logits, and the kernel's own space.
    """

    weights_bytes: float
    kv_bytes_per_token: float
    kv_bytes: float
    working_bytes: float

    @property
    def total_bytes(self) -> float:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.working_bytes

    @property
    def memory_gib(self) -> float:
        """All of it, in GiB (2**30 bytes)."""
        return self.total_bytes / GIB


def memory_of(
    row: Mapping[str, Any], *, context: int, batch: int = 1, kv_bits: float = 16.0
) -> Memory | None:
    """Memory that the model of an exported row needs.

    Args:
        row: has `stored_bits` and the facts of `kbit.models.cache_facts`. Where it has `heads` too, attention
            may be what is widest; where it has a packed `format`, the kernel's space is counted.
        context: tokens kept, prompt and answer together.
        batch: sequences at once.
        kv_bits: bits for each number of the cache.

    Returns:
        The items, or None where the row lacks a fact they follow from (see `missing_facts`).

    Raises:
        UsageError: context, batch or kv_bits is not positive.

    >>> row = dict(stored_bits=8 * 2**20, layers=2, kv_heads=2, head_dim=16, hidden_size=64,
    ...            intermediate_size=128, vocab_size=512)
    >>> m = memory_of(row, context=100)
    >>> int(m.weights_bytes), int(m.kv_bytes_per_token), int(m.kv_bytes), int(m.working_bytes)
    (1048576, 256, 25600, 289536)
    """
    for name, value in (("context", context), ("batch", batch), ("kv_bits", kv_bits)):
        if not value > 0:
            raise UsageError(f"{name} must be positive, got {value}.")
    if missing_facts(row):
        return None
    layers, heads, width, hidden, inner, vocabulary = (int(row[name]) for name in FACTS)
    per_layer = batch * 2 * heads * width * kv_bits / 8
    cached = layers - int(row.get("shared_kv_layers") or 0)
    window = row.get("sliding_window")
    sliding = min(int(row.get("sliding_layers") or 0), cached) if window else 0
    kept = (cached - sliding) * context + sliding * (min(context, int(window)) if window else 0)
    queries = int(row.get("heads") or 0) * width or hidden
    mlp = 3 * hidden + 3 * inner
    attention = 2 * hidden + 4 * queries + 2 * heads * width
    activations = context * (max(mlp, attention) + 2 * width) * ACTIVATION_BYTES
    kernel = _kernel_bytes(row.get("format"), largest_matrix=max(hidden * inner, hidden * queries))
    objects = OBJECT_BYTES + LAYER_OBJECT_BYTES * layers
    return Memory(
        weights_bytes=float(row["stored_bits"]) / 8,
        kv_bytes_per_token=per_layer * cached,
        kv_bytes=per_layer * kept,
        working_bytes=float(batch * (activations + vocabulary * LOGIT_BYTES) + kernel + objects),
    )


def _kernel_bytes(fmt: Any, *, largest_matrix: int) -> int:
    if not isinstance(fmt, str) or fmt in ("bf16", "fp16", "fp32"):
        return 0
    from kbit.advise.workspace import (
        kernel_bytes,
    )  # imports torch, which figures of 16-bit models do not need

    return kernel_bytes(fmt, largest_matrix=largest_matrix)


def missing_facts(row: Mapping[str, Any]) -> list[str]:
    """What `memory_of` needs and the row does not have."""
    return [
        name
        for name in ("stored_bits", *FACTS)
        if not isinstance(row.get(name), int | float) or row[name] != row[name]
    ]


def memory_assumptions(*, context: int, batch: int, kv_bits: float) -> list[str]:
    """What the figures above take for granted, in words."""
    return [
        f"{context} tokens of context (prompt and answer together), "
        f"{batch} sequence{'s' if batch > 1 else ''} at once.",
        "Weights take what they take on disk: codes, scales, tables and all that stays in 16 bits.",
        f"The key-value cache holds {kv_bits:g} bits for each number, "
        "for the key-value heads the config gives.",
        "Working space is 16-bit activations of one layer over a whole prompt of that length, for attention "
        "that keeps no matrix of scores, 32-bit logits of one token, and what the kernel needs.",
        "The program itself, its libraries, the tokeniser and the operating system are not counted, nor what "
        "the allocator keeps of freed memory. 1 GiB = 2^30 bytes.",
    ]
