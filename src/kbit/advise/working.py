"""Working space of the two ways a model generates: Transformers, and the core's own step.

Transformers, a whole prompt at once in 16 bits, for each token

    max(mlp, attention) · 2 bytes
      mlp       = 3 · hidden + 3 · intermediate + 2 · head_dim
      attention = 2 · hidden + (4 · heads + 2 · kv_heads + 2) · head_dim

is the widest moment of a forward pass: in a gated feed-forward layer the residual stream, its copy that
enters the layer and the normalised one, and the three arrays as wide as the layer; in attention the queries,
keys and values, and what turning them by their position takes; in both the tables of sines and cosines.

The core's step (`kbit generate`, for the architectures that it serves) reads a prompt in panels of at most
512 tokens and keeps the arrays of one panel in place for all layers, for each token of the panel

    6 · hidden + (8 · heads + 4 · kv_heads) · head_dim + 4 · intermediate bytes

and for each token of the context sines and cosines and one layer's keys and values in 32 bits:

    8 · head_dim + 8 · kv_heads · head_dim bytes.

Without products of many rows (`kbit doctor`) a panel is 16 tokens, in 32 bits, with a row of logits each. To
both come one row of logits for each sequence, in 32 bits with a copy, the kernel's own space and Python's
objects. `benchmarks/memory_promise.py` holds all this against resident memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Engine = Literal["core", "transformers"]
ENGINES = ("auto", "core", "transformers")

ACTIVATION_BYTES = 2
LOGIT_BYTES = 8
LONG_PANEL, SHORT_PANEL = 512, 16  # tokens of a prompt that the core reads at once
TILE = 16  # its keys and values are arranged in tiles of so many tokens, with one to spare
# Python's objects, of the model and of each layer, by engine; and what packed weights add (measured)
KIB = 1024
OBJECTS: Mapping[str, tuple[int, int]] = {"transformers": (60 * KIB, 50 * KIB), "core": (40 * KIB, 45 * KIB)}
PACKED_OBJECTS = (50 * KIB, 30 * KIB)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What working space follows from."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    vocabulary: int
    is_packed: bool

    @property
    def largest_matrix(self) -> int:
        """Weights of the largest linear layer of the body."""
        return self.hidden * max(self.intermediate, self.heads * self.head_dim)

    def objects_bytes(self, engine: Engine) -> int:
        """Python's objects, of the modules: they matter for tiny models only."""
        model, layer = OBJECTS[engine]
        if self.is_packed:
            model, layer = model + PACKED_OBJECTS[0], layer + PACKED_OBJECTS[1]
        return model + layer * self.layers


def transformers_bytes(shape: Shape, *, context: int, batch: int, kernel_bytes: int) -> float:
    """Working space where Transformers runs the model."""
    s = shape
    mlp = 3 * s.hidden + 3 * s.intermediate
    attention = 2 * s.hidden + (4 * s.heads + 2 * s.kv_heads) * s.head_dim
    each = (max(mlp, attention) + 2 * s.head_dim) * ACTIVATION_BYTES
    return (
        batch * (context * each + s.vocabulary * LOGIT_BYTES) + kernel_bytes + s.objects_bytes("transformers")
    )


def core_bytes(shape: Shape, *, context: int, batch: int, kernel_bytes: int, long_products: bool) -> float:
    """Working space where the core's step does; it reads one prompt after the other, whatever the batch."""
    s = shape
    queries, keys = s.heads * s.head_dim, s.kv_heads * s.head_dim
    fixed = batch * s.vocabulary * LOGIT_BYTES + kernel_bytes + s.objects_bytes("core")
    each = 8 * s.head_dim
    if long_products:
        panel = min(context, LONG_PANEL) * (6 * s.hidden + 8 * queries + 4 * keys + 4 * s.intermediate)
        return fixed + panel + context * (each + 8 * keys) + TILE * 8 * keys
    row = s.hidden + max(s.hidden, s.vocabulary) + 2 * queries + 2 * keys + 2 * s.intermediate
    return fixed + min(context, SHORT_PANEL) * 4 * row + context * each
