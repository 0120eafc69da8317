"""How much memory a model needs while it generates, item by item.

    weights  = stored_bits / 8
    cache    = context · batch · 2 · layers · kv_heads · head_dim · kv_bits / 8
    working  = activations + logits + what the kernel needs + objects (`kbit.advise.working`)

Under Transformers a sliding layer keeps at most its window, and a layer that shares another's cache keeps
none. The core's cache has room for every token in every layer, and at 8 bits a 32-bit scale for each key and
value.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kbit.advise.working import ENGINES, LONG_PANEL, Engine, Shape, core_bytes, transformers_bytes
from kbit.errors import UsageError, did_you_mean

GIB = 2**30
CORE_KV_BITS = (8, 16, 32)
SCALE_BITS = 32  # of each key and each value in the core's 8-bit cache
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
        engine: which way of generating that is.
    """

    weights_bytes: float
    kv_bytes_per_token: float
    kv_bytes: float
    working_bytes: float
    engine: Engine = "transformers"

    @property
    def total_bytes(self) -> float:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.working_bytes

    @property
    def memory_gib(self) -> float:
        """All of it, in GiB (2**30 bytes)."""
        return self.total_bytes / GIB


def memory_of(
    row: Mapping[str, Any], *, context: int, batch: int = 1, kv_bits: float = 16.0, engine: str = "auto"
) -> Memory | None:
    """Memory that the model of an exported row needs.

    Args:
        row: has `stored_bits` and the facts of `kbit.models.cache_facts`. Where it has `heads` too, attention
            may be what is widest; where it has a packed `format`, the kernel's space is counted.
        context: tokens kept, prompt and answer together.
        batch: sequences at once.
        kv_bits: bits for each number of the cache.
        engine: "transformers", "core" (the core's step), or "auto": what `kbit generate` would take.

    Returns:
        The items, or None where the row lacks a fact they follow from (see `missing_facts`).

    Raises:
        UsageError: context, batch or kv_bits is not positive, or there is no such engine.

    >>> row = dict(stored_bits=8 * 2**20, layers=2, kv_heads=2, head_dim=16, hidden_size=64,
    ...            intermediate_size=128, vocab_size=512)
    >>> m = memory_of(row, context=100)
    >>> int(m.weights_bytes), int(m.kv_bytes_per_token), int(m.kv_bytes), int(m.working_bytes)
    (1048576, 256, 25600, 289536)
    """
    for name, value in (("context", context), ("batch", batch), ("kv_bits", kv_bits)):
        if not value > 0:
            raise UsageError(f"{name} must be positive, got {value}.")
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}: {did_you_mean(engine, ENGINES)}")
    if missing_facts(row):
        return None
    layers, kv_heads, width, hidden, inner, vocabulary = (int(row[name]) for name in FACTS)
    heads = int(row.get("heads") or 0) or -(-hidden // width)
    shape = Shape(
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width,
        hidden=hidden,
        intermediate=inner,
        vocabulary=vocabulary,
        is_packed=_is_packed(row.get("format")),
    )
    chosen = engine_for(row, kv_bits) if engine == "auto" else engine
    by_core = chosen == "core"
    scale_bits = SCALE_BITS if by_core and kv_bits == 8 else 0
    per_layer = batch * 2 * kv_heads * (width * kv_bits + scale_bits) / 8
    cached = layers if by_core else layers - int(row.get("shared_kv_layers") or 0)
    window = None if by_core else row.get("sliding_window")
    sliding = min(int(row.get("sliding_layers") or 0), cached) if window else 0
    kept = (cached - sliding) * context + sliding * (min(context, int(window)) if window else 0)
    kernel = _kernel_bytes(row.get("format"), largest_matrix=shape.largest_matrix)
    working = (
        core_bytes(shape, context=context, batch=batch, kernel_bytes=kernel, long_products=_long_products())
        if by_core
        else transformers_bytes(shape, context=context, batch=batch, kernel_bytes=kernel)
    )
    return Memory(
        weights_bytes=float(row["stored_bits"]) / 8,
        kv_bytes_per_token=per_layer * cached,
        kv_bytes=per_layer * kept,
        working_bytes=float(working),
        engine="core" if by_core else "transformers",
    )


def engine_for(row: Mapping[str, Any], kv_bits: float = 16.0) -> Engine:
    """What `kbit generate` takes for a model: the core's step where it serves it, so far as the row tells."""
    return "core" if row.get("core_step") and kv_bits in CORE_KV_BITS else "transformers"


def _long_products() -> bool:
    from kbit import _core

    return bool(_core.long_products())


def _is_packed(fmt: Any) -> bool:
    return isinstance(fmt, str) and fmt not in ("bf16", "fp16", "fp32")


def _kernel_bytes(fmt: Any, *, largest_matrix: int) -> int:
    if not _is_packed(fmt):
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


def memory_assumptions(
    *, context: int, batch: int, kv_bits: float, engines: Collection[str] = ("transformers",)
) -> list[str]:
    """What the figures above take for granted, in words; `engines`: those that occur."""
    ways = {
        "core": "Working space of what the core's step serves (`kbit generate`): the arrays of at most "
        f"{LONG_PANEL} tokens of a prompt, one layer's keys and values, logits of one token.",
        "transformers": "Working space under Transformers: 16-bit activations of one layer over a whole "
        "prompt of that length, for attention that keeps no matrix of scores, 32-bit logits of one token, "
        "and what the kernel needs.",
    }
    return [
        f"{context} tokens of context (prompt and answer together), "
        f"{batch} sequence{'s' if batch > 1 else ''} at once.",
        "Weights take what they take on disk: codes, scales, tables and all that stays in 16 bits.",
        f"The key-value cache holds {kv_bits:g} bits for each number, "
        "for the key-value heads the config gives.",
        *(said for engine, said in ways.items() if engine in engines),
        "The program itself, its libraries, the tokeniser and the operating system are not counted, nor what "
        "the allocator keeps of freed memory. 1 GiB = 2^30 bytes.",
    ]
