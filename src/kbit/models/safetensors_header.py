"""The header of a safetensors file, read and checked against the file's length.

A file is 8 bytes N (little endian), N bytes of JSON {name: {dtype, shape, data_offsets}}, then the
data without holes (https://huggingface.co/docs/safetensors, "Format"). A truncated file is found
here, before a tensor is read.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from kbit.errors import ModelError

# safetensors' name of a data type -> PyTorch's
DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "BOOL": torch.bool,
        "U8": torch.uint8,
        "I8": torch.int8,
        "U16": torch.uint16,
        "I16": torch.int16,
        "U32": torch.uint32,
        "I32": torch.int32,
        "U64": torch.uint64,
        "I64": torch.int64,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F32": torch.float32,
        "F64": torch.float64,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
    }
)
DTYPE_NAMES: Mapping[torch.dtype, str] = MappingProxyType({dtype: name for name, dtype in DTYPES.items()})

# The reference implementation refuses longer headers; so a wrong length is not read as one of exabytes.
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """Name, data type and shape of a stored tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """Where one tensor lies: `offset_bytes` from the start of `file`."""

    spec: TensorSpec
    file: Path
    offset_bytes: int


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file, in the order of their data.

    Args:
        file: path of the file.

    Returns:
        Tensor name to where it lies.

    Raises:
        ModelError: the file is missing, truncated, too long, or its header is not a safetensors header.
    """
    try:
        size_bytes = file.stat().st_size
        with file.open("rb") as handle:
            prefix = handle.read(8)
            length = int.from_bytes(prefix, "little") if len(prefix) == 8 else -1
            if not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
                raise ModelError(
                    f"{file}: not a whole safetensors file: {size_bytes} bytes, of which a header would take "
                    f"{length}. Copy or download it again."
                )
            text = handle.read(length)
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read: {os.strerror(error.errno or 0)}. Check the path and its permissions."
        ) from error
    try:
        header = json.loads(text)
        tensors = [_entry(file, 8 + length, name, e) for name, e in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file}: the header is not that of a safetensors file ({error}). Copy or download it again."
        ) from error
    tensors.sort(key=lambda tensor: tensor.offset_bytes)
    _check_data(file, tensors, start=8 + length, size_bytes=size_bytes)
    return {tensor.spec.name: tensor for tensor in tensors}


def _entry(file: Path, data_start: int, name: str, entry: Mapping[str, Any]) -> StoredTensor:
    if entry["dtype"] not in DTYPES:
        raise ModelError(
            f"{file}: tensor {name!r} has data type {entry['dtype']!r}; kbit reads {', '.join(DTYPES)}. "
            "Convert the model to one of these."
        )
    shape = tuple(int(d) for d in entry["shape"])
    spec = TensorSpec(name=name, dtype=DTYPES[entry["dtype"]], shape=shape)
    start, end = (int(o) for o in entry["data_offsets"])
    if min(shape, default=0) < 0 or end - start != spec.size_bytes:
        raise ValueError(f"tensor {name!r} of shape {list(shape)} cannot take {end - start} bytes")
    return StoredTensor(spec=spec, file=file, offset_bytes=data_start + start)


def _check_data(file: Path, tensors: list[StoredTensor], *, start: int, size_bytes: int) -> None:
    position = start
    for tensor in tensors:
        if tensor.offset_bytes != position:
            raise ModelError(
                f"{file}: the data of {tensor.spec.name!r} begins at byte {tensor.offset_bytes} where "
                f"{position} was expected: the header has a hole or an overlap. Copy or download it again."
            )
        position += tensor.spec.size_bytes
    if position != size_bytes:
        fault = "truncated" if size_bytes < position else "too long"
        raise ModelError(
            f"{file}: {fault}: its header describes {position} bytes and it has {size_bytes}. "
            "Copy or download it again."
        )
