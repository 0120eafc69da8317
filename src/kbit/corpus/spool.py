"""What has been read and cleaned so far, on disk: texts, a row of figures for each, what was removed.

All that a later stage asks of a document is in its row, so the texts are read again only where two are
compared. A checkpoint syncs the files and notes their lengths; after a kill they are cut back to it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kbit.corpus.document import Document
from kbit.corpus.files import write_whole
from kbit.corpus.read import document_line
from kbit.corpus.shingles import BANDS, Hashes

ROW = np.dtype(
    [
        ("digest", "<u8", (4,)),  # SHA-256 of the text
        ("offset", "<i8"),  # of the document's line
        ("length", "<i8"),  # of the line, its newline included
        ("bytes", "<i8"),
        ("characters", "<i8"),
        ("position", "<f8"),  # in [0, 1): which part the document belongs to
    ]
)
BAND_BYTES = 8 * BANDS
ROWS_AT_ONCE = 1 << 14
BANDS_AT_ONCE = 4
_FILES = ("texts.jsonl", "rows.bin", "bands.bin", "removed.jsonl")
_STATE = "state.json"


class Spool:
    """Append-only files in a folder, with checkpoints."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Open a spool, at its last checkpoint if it is of the same identity, else empty."""
        self.folder = folder
        self.identity = identity
        self.progress: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        state = self._read_state()
        lengths = state["lengths"] if state else dict.fromkeys(_FILES, 0)
        if state:
            self.progress = state["progress"]
        self._handles = {name: (folder / name).open("ab") for name in _FILES}
        for name, handle in self._handles.items():
            handle.truncate(lengths[name])
            handle.seek(0, os.SEEK_END)
        self._offset = lengths["texts.jsonl"]
        self._bands_from = -1
        self._bands: Hashes = np.zeros((BANDS_AT_ONCE, 0), dtype=np.uint64)

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files, as they are."""
        for handle in self._handles.values():
            handle.close()

    def _read_state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads((self.folder / _STATE).read_bytes())
        except (OSError, ValueError):
            return None
        whole = all((self.folder / name).stat().st_size >= state["lengths"][name] for name in _FILES)
        return state if state["identity"] == self.identity and whole else None

    def add(self, document: Document, position: float, bands: Hashes) -> None:
        """Append a document."""
        line, content = document_line(document), document.text.encode()
        row = np.zeros(1, dtype=ROW)
        row["digest"] = np.frombuffer(hashlib.sha256(content).digest(), dtype="<u8")
        row["offset"], row["length"], row["position"] = self._offset, len(line), position
        row["bytes"], row["characters"] = len(content), len(document.text)
        self._handles["texts.jsonl"].write(line)
        self._handles["rows.bin"].write(row.tobytes())
        self._handles["bands.bin"].write(bands.tobytes())
        self._offset += len(line)

    def remove(self, name: str, reason: str, size_bytes: int, found: Any) -> None:
        """Note a document that does not stay."""
        self._handles["removed.jsonl"].write(removed_line(name, reason, size_bytes, found))

    def checkpoint(self, progress: dict[str, Any]) -> None:
        """Make all so far survive."""
        for handle in self._handles.values():
            handle.flush()
            os.fsync(handle.fileno())
        self.progress = progress
        lengths = {name: handle.tell() for name, handle in self._handles.items()}
        state = {"identity": self.identity, "lengths": lengths, "progress": progress}
        write_whole(self.folder / _STATE, json.dumps(state).encode())

    # --- once all is read

    def rows(self) -> npt.NDArray[np.void]:
        """The row of every document: 72 bytes each."""
        return np.fromfile(self.folder / "rows.bin", dtype=ROW)

    def band(self, b: int) -> Hashes:
        """The keys of one band, uint64 [documents]; four bands are read at a time."""
        first = b - b % BANDS_AT_ONCE
        if self._bands_from != first:
            self._bands_from, self._bands = first, self._read_bands(first)
        keys: Hashes = self._bands[b - first]
        return keys

    def _read_bands(self, first: int) -> Hashes:
        parts = []
        with (self.folder / "bands.bin").open("rb") as file:
            while piece := file.read(BAND_BYTES * ROWS_AT_ONCE):
                keys = np.frombuffer(piece, dtype="<u8").reshape(-1, BANDS)
                parts.append(keys[:, first : first + BANDS_AT_ONCE].T.copy())
        return np.concatenate(parts, axis=1) if parts else np.zeros((BANDS_AT_ONCE, 0), dtype=np.uint64)

    def line(self, offset: int, length: int) -> bytes:
        """One document's line."""
        with (self.folder / "texts.jsonl").open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def lines(self) -> Iterator[bytes]:
        """All documents' lines, in order."""
        with (self.folder / "texts.jsonl").open("rb") as file:
            yield from file


def removed_line(name: str, reason: str, size_bytes: int, found: Any) -> bytes:
    """A removed document as a line of JSON."""
    record = {"name": name, "reason": reason, "bytes": size_bytes, "found": found}
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def document_of(line: bytes) -> Document:
    """A document from its line."""
    record = json.loads(line)
    return Document(name=record["name"], text=record["text"])
