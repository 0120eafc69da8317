"""The numbers of a GGUF tensor, a slice of rows at a time."""

import os
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from kbit.errors import MissingExtraError, ModelError
from kbit.models.foreign.gguf_header import GgufFile, GgufTensor

# Numbers decoded at once: the gguf package's decoders take some ten times four bytes for each.
SLICE_WEIGHTS = 1 << 22
_PLAIN = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
}


def read_tensor(file: GgufFile, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """A whole tensor, decoded.

    Args:
        file: from `read_gguf`.
        name: of a tensor in it.
        dtype: of the result; numbers are rounded once, from float32.

    Raises:
        ModelError: the file has become shorter, or a type of integers.
        MissingExtraError: the gguf package is not installed.
    """
    tensor = file.tensors[name]
    out = torch.empty(tensor.weights, dtype=dtype)
    at = 0
    for part in decoded(file, tensor):
        out[at : at + part.numel()] = part
        at += part.numel()
    return out.view(tensor.shape)


def decoded(file: GgufFile, tensor: GgufTensor) -> Iterator[Tensor]:
    """A tensor's numbers in their order, as many runs of them as bounded memory takes.

    Raises:
        ModelError: as for `read_tensor`.
    """
    kind = tensor.type
    if kind.plain and kind.name not in _PLAIN:
        raise ModelError(f"{file.path}: tensor {tensor.name!r} is of integers ({kind.name}), not of weights.")
    quants = None if kind.plain else gguf_package().quants
    blocks, done = tensor.weights // kind.block, 0
    step = max(1, SLICE_WEIGHTS // kind.block)
    with file.path.open("rb", buffering=0) as handle:
        while done < blocks:
            count = min(step, blocks - done)
            raw = bytearray(count * kind.block_bytes)
            _fill(handle.fileno(), raw, tensor.offset_bytes + done * kind.block_bytes, file, tensor)
            if quants is None:
                yield torch.frombuffer(raw, dtype=_PLAIN[kind.name]).float()
            else:
                rows = np.frombuffer(raw, dtype=np.uint8).reshape(count, kind.block_bytes)
                code = gguf_package().GGMLQuantizationType(kind.code)
                with np.errstate(all="ignore"):
                    yield (
                        torch.from_numpy(np.ascontiguousarray(quants.dequantize(rows, code)))
                        .reshape(-1)
                        .float()
                    )
            done += count


def _fill(descriptor: int, buffer: bytearray, offset: int, file: GgufFile, tensor: GgufTensor) -> None:
    view, done = memoryview(buffer), 0
    while done < len(buffer):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise ModelError(
                f"{file.path}: ended while tensor {tensor.name!r} was read: the file was cut or replaced "
                "meanwhile. Run the command again when nothing writes to it."
            )
        done += count


def gguf_package() -> ModuleType:
    """llama.cpp's package that decodes its types.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import gguf
        import gguf.quants
    except ImportError as error:
        raise MissingExtraError("gguf", needed_for="reading GGUF files") from error
    package: ModuleType = gguf
    return package
