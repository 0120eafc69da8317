"""The tensors of a model folder: one safetensors file, or shards with an index. Read one at a time."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from kbit.errors import ModelError
from kbit.models.safetensors_header import StoredTensor, TensorSpec, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderTensors:
    """What the safetensors files of a folder hold; every header was checked against its file's length."""

    files: tuple[Path, ...]
    tensors: Mapping[str, StoredTensor]

    def read(self, name: str) -> torch.Tensor:
        """The whole tensor, in memory of its own (no memory map stays behind)."""
        return self.read_rows(name, 0, None)

    def read_rows(self, name: str, start: int, stop: int | None) -> torch.Tensor:
        """Rows `start` to `stop` along the first dimension (a scalar has none and is read whole).

        Raises:
            ModelError: the file has become shorter than its header says.
        """
        stored = self.tensors[name]
        shape, dtype = stored.spec.shape, stored.spec.dtype
        if shape and (start, stop) != (0, None):
            stop = shape[0] if stop is None else min(stop, shape[0])
            row_bytes = stored.spec.size_bytes // shape[0]
            shape = (stop - start, *shape[1:])
        else:
            start, row_bytes = 0, 0
        spec = TensorSpec(name=name, dtype=dtype, shape=shape)
        if spec.size_bytes == 0:
            return torch.empty(shape, dtype=dtype)
        buffer = bytearray(spec.size_bytes)
        with stored.file.open("rb", buffering=0) as handle:
            _fill(handle.fileno(), buffer, stored.offset_bytes + start * row_bytes, stored)
        return torch.frombuffer(buffer, dtype=dtype).view(shape)

    def chunks(self, name: str, chunk_bytes: int = 1 << 24) -> Iterator[bytearray]:
        """The tensor's bytes, at most `chunk_bytes` at a time."""
        stored = self.tensors[name]
        left, offset = stored.spec.size_bytes, stored.offset_bytes
        with stored.file.open("rb", buffering=0) as handle:
            while left:
                buffer = bytearray(min(left, chunk_bytes))
                _fill(handle.fileno(), buffer, offset, stored)
                left, offset = left - len(buffer), offset + len(buffer)
                yield buffer


def _fill(descriptor: int, buffer: bytearray, offset: int, stored: StoredTensor) -> None:
    view, done = memoryview(buffer), 0
    while done < len(buffer):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise ModelError(
                f"{stored.file}: ended while tensor {stored.spec.name!r} was read: the file was cut or "
                "replaced meanwhile. Run the command again when nothing writes to it."
            )
        done += count


def read_folder_tensors(folder: Path) -> FolderTensors:
    """Headers of a folder's `model.safetensors`, or of every shard its index names.

    Raises:
        ModelError: no safetensors files, a shard missing or truncated, an index that does not fit its shards.
    """
    single, index = folder / SINGLE, folder / INDEX
    if single.exists():
        return FolderTensors(files=(single,), tensors=read_header(single))
    if not index.exists():
        raise ModelError(_nothing_to_read(folder))
    try:
        weight_map = {str(k): str(v) for k, v in json.loads(index.read_bytes())["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: not an index of shards ({error}). Copy or download it again.") from error
    tensors: dict[str, StoredTensor] = {}
    files = []
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard:
            raise ModelError(f"{index}: names {shard!r}, which is outside the folder. Repair the index.")
        file = folder / shard
        if not file.exists():
            raise ModelError(
                f"{folder}: shard {shard!r}, named by {INDEX}, is missing. Copy or download it again."
            )
        files.append(file)
        for name, stored in read_header(file).items():
            if weight_map.get(name) != shard:
                raise ModelError(
                    f"{file}: holds {name!r}, which {INDEX} puts into {weight_map.get(name, 'no shard')}. "
                    "The shards and the index are not of one model: copy or download all of them again."
                )
            tensors[name] = stored
    lost = sorted(weight_map.keys() - tensors.keys())
    if lost:
        raise ModelError(
            f"{folder}: {INDEX} names {lost[0]!r} and {len(lost) - 1} more tensors that no shard holds. "
            "Copy or download the shards again."
        )
    return FolderTensors(files=tuple(files), tensors=tensors)


def _nothing_to_read(folder: Path) -> str:
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
    if pickles:
        return (
            f"{folder}: holds its weights only as pickle ({pickles[0]}), which can run code when it is "
            "read; kbit reads safetensors only. If you trust the file, convert it once: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)."
        )
    return f"{folder}: has no {SINGLE} and no {INDEX}. Give a folder that holds a model, or a hub id."
