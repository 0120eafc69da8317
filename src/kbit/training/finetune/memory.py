"""What a fine-tuning takes in memory: told before it starts, and measured while it runs."""

import contextlib
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kbit.training.finetune.batches import make_batch
from kbit.training.finetune.encode import Encoded
from kbit.training.finetune.objective import AnswerLoss


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes of tensors; the libraries' own few hundred MB come on top.

    Attributes:
        model_bytes: of the loaded model, packed layers as they are packed, trained weights among them.
        trained_bytes: gradients and the optimiser's two moments, 12 bytes for each trained weight.
        activation_bytes: what the largest batch keeps for its backward pass, found on one example and scaled.
    """

    model_bytes: int
    trained_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        """At once."""
        return self.model_bytes + self.trained_bytes + self.activation_bytes


def memory_needed(model: Any, loss: AnswerLoss, chunks: Sequence[Sequence[Encoded]]) -> Memory:
    """Count what training will hold.

    Args:
        model: loaded and made trainable.
        loss: of that model.
        chunks: examples that are run together.
    """
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    largest = max(chunks, key=lambda chunk: len(chunk) * max(example.length for example in chunk))
    longest = max(largest, key=lambda example: example.length)
    return Memory(
        model_bytes=model_bytes(model),
        trained_bytes=12 * trained,
        activation_bytes=len(largest) * kept_for_backward(model, loss, longest),
    )


def model_bytes(model: Any) -> int:
    """Bytes of a model's tensors, a shared one once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors if t.numel()}.values())


def kept_for_backward(model: Any, loss: AnswerLoss, example: Encoded) -> int:
    """Bytes that autograd keeps of one example's forward pass, the model's own tensors not counted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no storage is freed and its place counted for another

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(make_batch([example], None))
    return sum(kept.values())


class PeakMemory:
    """The most memory this process had resident above what it had when the watch began."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forgets the high-water mark, proc(5)
        self.before_bytes = _status("VmRSS:") or _most()

    def above_bytes(self) -> int:
        """Since then."""
        return max(0, (_status("VmHWM:") or _most()) - self.before_bytes)


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)


def _most() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
