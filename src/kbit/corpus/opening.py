"""Bytes of a file, unpacked, and the text they spell: a piece at a time, in bounded memory."""

import bz2
import codecs
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kbit.errors import CorpusError, MissingExtraError, UsageError

PIECE_BYTES = 1 << 20
# What zstd unpacks from one piece may be a thousand times as long.
PACKED_PIECE_BYTES = 1 << 16
DETECT = "detect"
DETECT_BYTES = 1 << 20
STDIN = "-"
_REPLACEMENT = "\ufffd"

_OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": Path.open,  # unpacked by `_unzstd`
}
_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error)


@dataclass(slots=True)
class ReadTally:
    """What had to be repaired while reading."""

    characters_replaced: int = 0
    """U+FFFD put in the place of bytes that are no text."""


def packed_suffix(path: Path) -> str:
    """`.gz`, `.bz2`, `.xz` or `.zst` where a file is packed, else nothing."""
    suffix = path.suffix.lower()
    return suffix if suffix in _OPENERS else ""


def byte_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file (`-`: of standard input), unpacked where its suffix says so.

    Raises:
        CorpusError: it cannot be read, or what is packed is damaged or cut short.
    """
    if str(path) == STDIN:
        while piece := sys.stdin.buffer.read(PIECE_BYTES):
            yield piece
        return
    suffix = packed_suffix(path)
    try:
        with _OPENERS.get(suffix, Path.open)(path, "rb") as file:
            if suffix == ".zst":
                yield from _unzstd(file, path)
                return
            while piece := file.read(PIECE_BYTES):
                yield piece
    except _DAMAGE as error:
        if suffix and not (isinstance(error, OSError) and error.errno):
            raise CorpusError(f"{path} is damaged or cut short ({error}). Fetch or pack it again.") from error
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise CorpusError(f"cannot read {path}: {told}. Check its permissions.") from error


def _unzstd(file: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError("compressors", needed_for=f"reading {path.name}") from error
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    frame, begun = unpacker.decompressobj(), False
    try:
        while piece := file.read(PACKED_PIECE_BYTES):
            while piece:
                begun = True
                unpacked = frame.decompress(piece)
                if unpacked:
                    yield unpacked
                piece = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame, begun = unpacker.decompressobj(), False
    except zstandard.ZstdError as error:
        raise CorpusError(f"{path} is damaged ({error}). Fetch or pack it again.") from error
    if begun:
        raise CorpusError(f"{path} is cut short: its last frame does not end. Fetch or pack it again.")


def text_pieces(path: Path, *, encoding: str, replace: bool, tally: ReadTally) -> Iterator[str]:
    """The text of a file, a piece at a time.

    Args:
        path: as for `byte_pieces`.
        encoding: Python's name of an encoding, or `detect`: the likeliest one of the first megabyte.
        replace: put U+FFFD in the place of what is no text, and count it, instead of refusing the file.
        tally: where it is counted.

    Raises:
        CorpusError: what is there is not text of this encoding; names file, line and byte offset.
        UsageError: there is no such encoding.
    """
    pieces = byte_pieces(path)
    if encoding == DETECT:
        head = next(pieces, b"")
        encoding = detect_encoding(head, path)
        pieces = _again(head, pieces)
    decoder: Any = _decoder(encoding, "strict")
    utf8 = codecs.lookup(encoding).name == "utf-8"
    offset, line, replacing = 0, 1, False
    for piece, final in _with_last(pieces):
        state = decoder.getstate()
        try:
            text = decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            pending = len(state[0])
            if not replace:
                line += error.object[: error.start].count(b"\n")
                raise CorpusError(
                    f"{path}, line {line}: not {'UTF-8' if utf8 else encoding} at byte offset "
                    f"{offset - pending + error.start} (byte 0x{error.object[error.start]:02x}). Convert it, "
                    "for example with iconv -t UTF-8, or prepare it with `kbit corpus`: --encoding names "
                    "another encoding, --invalid replace has such bytes replaced and counted."
                ) from error
            replacing = True
            decoder = _decoder(encoding, "replace")
            decoder.setstate(state)
            text = decoder.decode(piece, final)
        if replacing:
            own = (state[0] + piece).count(_REPLACEMENT.encode()) if utf8 else 0
            tally.characters_replaced += text.count(_REPLACEMENT) - own
        offset += len(piece)
        line += text.count("\n") if not replace else 0
        if text:
            yield text


def detect_encoding(head: bytes, path: Path) -> str:
    """The likeliest encoding of a text by its beginning; UTF-8 wherever that fits.

    Raises:
        CorpusError: nothing fits.
    """
    from charset_normalizer import from_bytes

    with_room = head[: len(head) - 3] if len(head) >= PIECE_BYTES else head  # a character may be cut in two
    try:
        codecs.getincrementaldecoder("utf-8")().decode(with_room)
    except UnicodeDecodeError:
        best = from_bytes(head[:DETECT_BYTES]).best()
    else:
        return "utf-8"
    if best is None:
        raise CorpusError(
            f"{path}: its encoding cannot be told; it may be no text at all. Name it with --encoding."
        )
    return best.encoding


def lines_of(pieces: Iterator[str]) -> Iterator[str]:
    r"""Lines of a text without their \n; nothing else ends a line, and none is too long."""
    held: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        held.append(first)
        for other in others:
            yield "".join(held)
            held = [other]
    if any(held):
        yield "".join(held)


def _decoder(encoding: str, errors: str) -> codecs.IncrementalDecoder:
    try:
        return codecs.getincrementaldecoder(encoding)(errors)
    except LookupError as error:
        raise UsageError(
            f"there is no encoding {encoding!r}. Give a name Python knows, such as utf-8, gb18030 or utf-16, "
            f"or {DETECT!r}."
        ) from error


def _with_last(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and at the end an empty one that is the last."""
    for piece in pieces:
        yield piece, False
    yield b"", True


def _again(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest
