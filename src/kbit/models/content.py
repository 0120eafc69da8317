"""What a model is, whatever its files are called: a hash over tensors and config."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kbit.models.atomic_folder import replace_file
from kbit.models.locate import read_config
from kbit.models.safetensors_header import DTYPE_NAMES
from kbit.models.safetensors_read import FolderTensors, read_folder_tensors

# Part of the hash: a change of what is hashed, or how, gives every model another hash.
VERSION = 1

# Keys of a config that say where a model came from or how to run it, not what it computes.
NOT_CONTENT = frozenset(
    {
        "_name_or_path",
        "_attn_implementation",
        "architectures",
        "dtype",
        "kbit_version",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def content_hash(folder: Path) -> str:
    """Hash of a model's tensors and config, the same however its files are sharded or named.

    Reads every weight once; the result is kept in the user's cache folder under the files' names,
    sizes and times, so asking again costs nothing.

    Args:
        folder: a local model folder; or a GGUF file, whose bytes are hashed.

    Returns:
        64 hexadecimal digits.

    Raises:
        ModelError: no model folder, or a truncated file.
    """
    tensors = None if folder.is_file() else read_folder_tensors(folder)
    files = [folder] if tensors is None else [*tensors.files, folder / "config.json"]
    key = hashlib.sha256(json.dumps([VERSION, *map(_stamp, files)]).encode()).hexdigest()
    kept = _cache_folder() / "content" / key
    try:
        text = kept.read_text()
        if len(text) == 64:
            return text
    except (OSError, UnicodeDecodeError):
        pass
    value = _file_hash(folder) if tensors is None else _hash(tensors, read_config(folder))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, value.encode())
    except OSError:
        # A read-only home only costs the time to hash again.
        return value
    return value


def _file_hash(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _hash(tensors: FolderTensors, config: Mapping[str, Any]) -> str:
    total = hashlib.sha256(f"kbit model content {VERSION}\n".encode())
    total.update(json.dumps(_essentials(config), sort_keys=True, ensure_ascii=False).encode())
    names = sorted(tensors.tensors)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for digest in pool.map(lambda name: _tensor_digest(tensors, name), names):
            total.update(digest)
    return total.hexdigest()


def _tensor_digest(tensors: FolderTensors, name: str) -> bytes:
    spec = tensors.tensors[name].spec
    digest = hashlib.sha256(json.dumps([name, DTYPE_NAMES[spec.dtype], list(spec.shape)]).encode() + b"\n")
    for chunk in tensors.chunks(name):
        digest.update(chunk)
    return digest.digest()


def _essentials(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _essentials(v) for k, v in value.items() if k not in NOT_CONTENT}
    return [_essentials(v) for v in value] if isinstance(value, list) else value


def _stamp(file: Path) -> list[Any]:
    path = file.resolve()
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kbit"


TOKENIZER_PATTERNS = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
    "spiece*",
)


def tokenizer_files(folder: Path) -> Iterator[Path]:
    """Files that make a folder's tokeniser, in the order of their names."""
    yield from sorted({p for pattern in TOKENIZER_PATTERNS for p in folder.glob(pattern) if p.is_file()})
