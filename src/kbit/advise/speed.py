"""How fast a model can generate at most: memory bandwidth over the bytes that a token reads.

    bytes a step   = weights read + cache of every sequence
    steps a second = bandwidth / bytes a step; each gives one token to every sequence

Every weight is read for each step but for the table that embeds tokens, of which a step reads one row for
each sequence; a tied table is read whole, as the output layer. A mixture of experts reads fewer weights,
which is not counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kbit.advise.memory import Memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What bandwidth allows.

    Attributes:
        step_bytes: read for one token of every sequence.
        tokens_per_s: of one sequence, at most; a batch gives that many times its size together.
    """

    step_bytes: float
    tokens_per_s: float


def speed_of(row: Mapping[str, Any], memory: Memory, *, bandwidth_gb_per_s: float) -> Speed:
    """Speed of generation with a full context.

    Args:
        row: as for `memory_of`; `stored_bits_embeddings`, `weights` and `weights_body` tell whether the table
            that embeds tokens is one that the output layer does not share.
        memory: of the row, at the context and batch that are meant.
        bandwidth_gb_per_s: of reading memory, in 10^9 bytes a second.

    >>> row = dict(stored_bits=8e9)
    >>> memory = Memory(weights_bytes=1e9, kv_bytes_per_token=0.0, kv_bytes=0.25e9, working_bytes=0.0)
    >>> speed_of(row, memory, bandwidth_gb_per_s=100.0).tokens_per_s
    80.0
    """
    step = memory.weights_bytes - _lookup_bytes(row) + memory.kv_bytes
    return Speed(step_bytes=step, tokens_per_s=1e9 * bandwidth_gb_per_s / step)


def _lookup_bytes(row: Mapping[str, Any]) -> float:
    """Bytes of a token table that is only looked up; 0 where it is tied, or where that is not known."""
    names = ("stored_bits_embeddings", "weights", "weights_body", "vocab_size", "hidden_size")
    if any(not isinstance(row.get(name), int | float) for name in names):
        return 0.0
    table = int(row["vocab_size"]) * int(row["hidden_size"])
    weights = float(row["weights"]) - float(row["weights_body"])
    if weights < 2 * table:
        return 0.0
    return float(row["stored_bits_embeddings"]) / 8 * table / weights
