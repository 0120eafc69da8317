"""A part of a corpus as numbered JSONL files, each with its hash."""

import hashlib
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt


class Part:
    """A part being written, shard by shard."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        """Write below a folder; a shard is closed once it holds `shard_bytes`."""
        self.folder = folder
        self.shards: list[dict[str, Any]] = []
        self._shard_bytes = shard_bytes
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._documents: list[int] = []

    def add(self, document: int, line: bytes) -> None:
        """Append the line of a document, known by its row's number."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{len(self.shards):05d}.jsonl"
            self._file, self._hash = (self.folder / name).open("wb"), hashlib.sha256()
            self.shards.append({"file": f"{self.folder.name}/{name}", "documents": 0, "bytes": 0})
        shard = self.shards[-1]
        self._file.write(line)
        self._hash.update(line)
        shard["documents"] += 1
        shard["bytes"] += len(line)
        self._documents.append(document)
        if shard["bytes"] >= self._shard_bytes:
            self.close()

    def close(self) -> None:
        """Sync the shard that is open, and note its hash."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.shards[-1]["sha256"] = self._hash.hexdigest()
        self._file = None

    def facts(self, rows: npt.NDArray[np.void]) -> dict[str, Any]:
        """Sums over the part's documents, and the hash of their texts as `content_hash` has it."""
        own = rows[np.array(self._documents, dtype=np.int64)]
        return {
            "path": str(self.folder),
            "documents": len(own),
            "bytes": int(own["bytes"].sum()),
            "characters": int(own["characters"].sum()),
            "hash": hash_of_digests(own["digest"]),
        }


def hash_of_digests(digests: npt.NDArray[np.uint64]) -> str:
    """`content_hash` of documents, from the SHA-256 of each text, [documents, 4] little endian."""
    columns = np.frombuffer(np.ascontiguousarray(digests).tobytes(), dtype=">u8").reshape(-1, 4)
    order = np.lexsort(columns.T[::-1])
    return hashlib.sha256(b"kbit documents 1\n" + columns[order].tobytes()).hexdigest()
