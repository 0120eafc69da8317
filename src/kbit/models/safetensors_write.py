"""A safetensors file written tensor by tensor: the header first, since all sizes follow from the shapes."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from kbit.errors import ModelError
from kbit.models.safetensors_header import DTYPE_NAMES, TensorSpec


class SafetensorsWriter:
    """Writes tensors in any order, each to its place; closing checks that none is missing and syncs to disk.

    Memory does not grow with the file: only the tensor being written is held.
    """

    def __init__(self, file: Path, specs: Iterable[TensorSpec]) -> None:
        # Wider elements first, as the reference does: every tensor is then aligned to its element.
        order = sorted(specs, key=lambda spec: (-spec.dtype.itemsize, spec.name))
        self._file = file
        self._specs = {spec.name: spec for spec in order}
        if len(self._specs) != len(order):
            raise ModelError(f"{file}: two tensors have one name.")
        header, self._offsets, self.data_bytes = _layout(order)
        self._left = set(self._specs)
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._put(header, 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._data_start = len(header)

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor, whose shape and data type must be those announced."""
        spec = self._specs[name]
        if tensor.dtype != spec.dtype or tuple(tensor.shape) != spec.shape:
            raise ModelError(
                f"{self._file}: tensor {name!r} was announced as {spec.dtype} {list(spec.shape)} and came as "
                f"{tensor.dtype} {list(tensor.shape)}."
            )
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        self._put(data.data, self._data_start + self._offsets[name])
        self._left.discard(name)

    def close(self) -> None:
        """Sync and close; every announced tensor must have been written."""
        try:
            if self._left:
                raise ModelError(f"{self._file}: tensor {min(self._left)!r} was announced and never written.")
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def abandon(self) -> None:
        """Close without checking: what was written is about to be removed."""
        os.close(self._descriptor)

    def _put(self, data: bytes | memoryview, offset: int) -> None:
        view, done = memoryview(data), 0
        while done < len(view):
            # At most 1 GiB a call: Linux writes no more than 2 GiB at once.
            done += os.pwrite(self._descriptor, view[done : done + (1 << 30)], offset + done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def _layout(order: list[TensorSpec]) -> tuple[bytes, dict[str, int], int]:
    entries: dict[str, Mapping[str, object]] = {"__metadata__": {"format": "pt"}}
    offsets, position = {}, 0
    for spec in order:
        end = position + spec.size_bytes
        entries[spec.name] = {
            "dtype": DTYPE_NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [position, end],
        }
        offsets[spec.name], position = position, end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offsets, position
