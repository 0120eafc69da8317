"""The header of a GGUF file: metadata and a table of tensors, checked against the file's length.

Layout (ggml/docs/gguf.md): `GGUF`, version, numbers of tensors and of key-value pairs; the pairs; for each
tensor its name, dimensions (the fastest first), type and offset; padding; the data. All little-endian.
"""

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from kbit.errors import ModelError
from kbit.models.foreign.gguf_types import GGUF_TYPES, GgufType

MAGIC, VERSIONS, DEFAULT_ALIGNMENT = b"GGUF", (2, 3), 32
# More than any model has: a larger number is a damaged file, not one to make room for.
MOST_TENSORS, MOST_KEYS, MOST_DIMENSIONS = 1_000_000, 100_000, 4
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufTensor:
    """Where a tensor lies.

    Attributes:
        name: llama.cpp's name of it.
        shape: as PyTorch writes it, the last dimension the fastest.
        type: how its numbers are stored.
        offset_bytes: from the file's beginning.
    """

    name: str
    shape: tuple[int, ...]
    type: GgufType
    offset_bytes: int

    @property
    def weights(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its data; exact, since rows are whole blocks."""
        return self.weights // self.type.block * self.type.block_bytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GgufFile:
    """What a GGUF file says of itself.

    Attributes:
        path: the file.
        metadata: its key-value pairs; arrays as lists.
        tensors: by name.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture.

        Raises:
            ModelError: the file names none.
        """
        name = self.metadata.get("general.architecture")
        if not isinstance(name, str):
            raise ModelError(f"{self.path}: names no architecture (general.architecture): it holds no model.")
        return name


class _Reader:
    """Reads numbers and strings, and never beyond the file's end."""

    def __init__(self, path: Path, handle: BinaryIO, size: int) -> None:
        self.path, self.handle, self.size = path, handle, size

    def take(self, count: int) -> bytes:
        if count > self.size - self.handle.tell():
            raise ModelError(
                f"{self.path}: ends within its header, so it was cut short. Copy or download it again."
            )
        return self.handle.read(count)

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        form = struct.Struct("<" + kinds)
        return form.unpack(self.take(form.size))

    def string(self) -> str:
        (length,) = self.numbers("Q")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int, *, nested: bool = False) -> Any:
        if kind in _NUMBERS:
            return self.numbers(_NUMBERS[kind])[0]
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY and not nested:
            kind, count = self.numbers("IQ")
            if kind in _NUMBERS:
                form = _NUMBERS[kind]
                raw = self.take(count * struct.calcsize("<" + form))
                return list(struct.unpack(f"<{count}{form}", raw))
            if count > self.size:
                self.take(count)  # says that the file is too short
            return [self.value(kind, nested=True) for _ in range(count)]
        raise ModelError(f"{self.path}: its header holds a value of unknown type {kind}: {_DAMAGED}")


_DAMAGED = "the file is damaged, or newer than this kbit. Copy or download it again, or upgrade kbit."


def read_gguf(path: Path) -> GgufFile:
    """Read a file's header; no tensor is read.

    Raises:
        ModelError: no GGUF file, one that was cut short or is damaged, or a type that kbit does not know.
    """
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error}).") from error


@lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, size: int) -> GgufFile:
    with path.open("rb") as handle:
        reader = _Reader(path, handle, size)
        if size < 24 or reader.take(4) != MAGIC:
            raise ModelError(f"{path}: is no GGUF file: it does not begin with 'GGUF'.")
        version, tensors, keys = reader.numbers("IQQ")
        if version not in VERSIONS:
            raise ModelError(
                f"{path}: GGUF version {version}, and kbit reads little-endian files of versions 2 and 3. "
                "Convert the model again with a current llama.cpp."
            )
        if tensors > MOST_TENSORS or keys > MOST_KEYS:
            raise ModelError(f"{path}: claims {tensors} tensors and {keys} keys: {_DAMAGED}")
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = reader.string()
            metadata[key] = reader.value(*reader.numbers("I"))
        rows = [_tensor(reader) for _ in range(tensors)]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ModelError(f"{path}: an alignment of {alignment!r} is no power of two: {_DAMAGED}")
        start = -(-handle.tell() // alignment) * alignment
    found: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in rows:
        tensor = GgufTensor(name=name, shape=shape, type=kind, offset_bytes=start + offset)
        if name in found:
            raise ModelError(f"{path}: names the tensor {name!r} twice: {_DAMAGED}")
        if tensor.offset_bytes + tensor.size_bytes > size:
            raise ModelError(
                f"{path}: tensor {name!r} ends at byte {tensor.offset_bytes + tensor.size_bytes} of {size}: "
                "the file was cut short. Copy or download it again."
            )
        found[name] = tensor
    return GgufFile(path=path, metadata=MappingProxyType(metadata), tensors=MappingProxyType(found))


def _tensor(reader: _Reader) -> tuple[str, tuple[int, ...], GgufType, int]:
    name = reader.string()
    (count,) = reader.numbers("I")
    if count > MOST_DIMENSIONS:
        raise ModelError(f"{reader.path}: tensor {name!r} claims {count} dimensions: {_DAMAGED}")
    shape = tuple(reversed(reader.numbers(f"{count}Q")))
    code, offset = reader.numbers("IQ")
    if code not in GGUF_TYPES:
        known = ", ".join(row.name for row in GGUF_TYPES.values())
        raise ModelError(f"{reader.path}: tensor {name!r} has ggml type {code}, and kbit knows {known}.")
    kind = GGUF_TYPES[code]
    if (shape[-1] if shape else 1) % kind.block:
        raise ModelError(
            f"{reader.path}: rows of tensor {name!r}, {list(shape)}, are no whole blocks of {kind.block} "
            f"({kind.name}): {_DAMAGED}"
        )
    return name, shape, kind, offset


def is_gguf(path: str | Path) -> bool:
    """Whether a path is that of a GGUF file: it exists, and its name or its first bytes say so."""
    file = Path(path).expanduser()
    if not file.is_file():
        return False
    if file.suffix.lower() == ".gguf":
        return True
    with file.open("rb") as handle:
        return os.pread(handle.fileno(), 4, 0) == MAGIC
