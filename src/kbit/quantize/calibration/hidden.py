"""Hidden states of all calibration tokens, in a file: memory holds a batch of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Tokens that run together; a window longer than this runs alone.
BATCH_TOKENS = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Windows of one length, and where their tokens lie in the file.

    Attributes:
        ids: int64 [windows, length].
        start: number of the first token.
    """

    ids: Tensor
    start: int

    @property
    def stop(self) -> int:
        """Number after the last token."""
        return self.start + self.ids.numel()


def batches(windows: Sequence[Tensor]) -> list[Batch]:
    """Windows in batches of one length each, in their order (longest first).

    >>> [b.ids.shape[0] for b in batches([torch.zeros(2048), torch.zeros(2048), torch.zeros(2048)])]
    [2, 1]
    """
    made: list[Batch] = []
    start = 0
    for length, group in groupby(windows, key=len):
        same = list(group)
        step = max(1, BATCH_TOKENS // length)
        for first in range(0, len(same), step):
            made.append(Batch(ids=torch.stack(same[first : first + step]), start=start))
            start = made[-1].stop
    return made


class HiddenFile:
    """Float32 [tokens, width] in a file. Args of the constructor: where, and its shape."""

    def __init__(self, file: Path, tokens: int, width: int, *, new: bool) -> None:
        self.file = file
        self._values = np.memmap(file, dtype=np.float32, mode="w+" if new else "r+", shape=(tokens, width))

    @property
    def width(self) -> int:
        """Values a token has."""
        return int(self._values.shape[1])

    def read(self, batch: Batch) -> Tensor:
        """Hidden states of a batch, float32 [windows, length, width], in memory of their own."""
        values = np.array(self._values[batch.start : batch.stop])
        return torch.from_numpy(values).view(*batch.ids.shape, self.width)

    def write(self, batch: Batch, hidden: Tensor) -> None:
        """Store hidden states of a batch."""
        self._values[batch.start : batch.stop] = hidden.reshape(-1, self.width).numpy()

    def flush(self) -> None:
        """Push what was written to the disk."""
        self._values.flush()


def each(made: Sequence[Batch], *files: HiddenFile) -> Iterator[tuple[Batch, tuple[Tensor, ...]]]:
    """Batches with their hidden states from each file."""
    for batch in made:
        yield batch, tuple(file.read(batch) for file in files)
