"""A text as a file of its code length, and back.

Layout: `kbz` and a version byte; four bytes of the coder's identity; CRC-32 of the text (little endian); the
number of symbols (LEB128); the arithmetic code. Sixteen bytes at most for texts of up to two million symbols,
the end of the code among them; a text so short that this matters has a header to match.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kbit.coders.predictor import PredictiveCoder
from kbit.coders.range_coder import RangeDecoder, RangeEncoder, cumulative_frequencies
from kbit.errors import CoderError

MAGIC = b"kbz"
VERSION = 1
_FIXED_BYTES = 12
_MOST_COUNT_BYTES = 9
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """A compressed text and what it cost."""

    content: bytes
    """The whole file."""
    symbols: int
    code_bits: float
    """-sum log2 p of the symbols, before any rounding."""
    header_bytes: int


def coder_identity(coder: PredictiveCoder) -> str:
    """SHA-256 of all that changes what a coder predicts: 64 hexadecimal digits. Names do not count."""
    facts: dict[str, Any] = {
        "coder": type(coder).__name__,
        "version": coder.version,
        "settings": dict(coder.settings),
        "content": coder.content_hash() if hasattr(coder, "content_hash") else None,
    }
    canonical = json.dumps(facts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def compress(coder: PredictiveCoder, content: bytes, *, progress: Progress | None = None) -> Compressed:
    """Code a text symbol by symbol.

    Args:
        coder: what predicts it; the same one gives it back.
        content: the text. A coder over bytes takes any bytes.
        progress: told symbols done and symbols in all, now and then.

    Raises:
        CoderError: the coder's symbols do not give the text back, or its probabilities are none.
    """
    symbols = coder.to_symbols(content)
    predictor, encoder, bits = coder.predictor(), RangeEncoder(), 0.0
    for done, symbol in enumerate(symbols):
        probability = predictor.probabilities()
        cumulative = cumulative_frequencies(probability)
        start = int(cumulative[symbol])
        encoder.encode(start, int(cumulative[symbol + 1]) - start)
        bits -= _log2(float(probability[symbol]))
        predictor.advance(symbol)
        if progress is not None and done % 256 == 255:
            progress(done + 1, len(symbols))
    header = _header(coder, content, len(symbols))
    return Compressed(
        content=header + encoder.finish(),
        symbols=len(symbols),
        code_bits=bits,
        header_bytes=len(header),
    )


def decompress(coder: PredictiveCoder, compressed: bytes, *, progress: Progress | None = None) -> bytes:
    """The text of a compressed file.

    What was read is coded again alongside, and must come out as the file's own bytes; so a damaged,
    shortened or lengthened file is found.

    Raises:
        CoderError: it is no such file, another coder made it, or it is damaged.
    """
    if compressed[:3] != MAGIC:
        raise CoderError(
            "this is no file of `kbit compress`: it does not begin with 'kbz'. Give one that is."
        )
    if len(compressed) <= _FIXED_BYTES:
        raise CoderError(
            f"the file is cut short: {len(compressed)} bytes do not hold a header. Copy it again."
        )
    if compressed[3] != VERSION:
        raise CoderError(
            f"the file has version {compressed[3]}, and this kbit reads version {VERSION}. "
            "Use the kbit that made it."
        )
    identity = coder_identity(coder)[:8]
    if compressed[4:8].hex() != identity:
        raise CoderError(
            f"another coder made this file (identity {compressed[4:8].hex()}; {coder.name} as given here is "
            f"{identity}). Give the very model, format, settings and baseline text it was compressed with."
        )
    count, at = _read_count(compressed)
    predictor, decoder, again = coder.predictor(), RangeDecoder(compressed[at:]), RangeEncoder()
    symbols: list[int] = []
    for done in range(count):
        cumulative = cumulative_frequencies(predictor.probabilities())
        symbol = decoder.decode(cumulative)
        start = int(cumulative[symbol])
        again.encode(start, int(cumulative[symbol + 1]) - start)
        if again.bytes_out > len(compressed):
            break
        symbols.append(symbol)
        predictor.advance(symbol)
        if progress is not None and done % 256 == 255:
            progress(done + 1, count)
    content = coder.to_bytes(symbols)
    whole = len(symbols) == count and again.finish() == compressed[at:]
    if not whole or zlib.crc32(content) != int.from_bytes(compressed[8:12], "little"):
        raise CoderError(
            "the file does not give its text back: it is damaged or cut short, or the model computes other "
            "numbers here (another processor, library or number of threads) than where it was compressed. "
            "Copy the file again, or decompress it where it was made."
        )
    return content


def _header(coder: PredictiveCoder, content: bytes, count: int) -> bytes:
    identity = bytes.fromhex(coder_identity(coder)[:8])
    checksum = zlib.crc32(content).to_bytes(4, "little")
    return MAGIC + bytes([VERSION]) + identity + checksum + _leb128(count)


def _leb128(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_count(compressed: bytes) -> tuple[int, int]:
    count = 0
    for i, byte in enumerate(compressed[_FIXED_BYTES : _FIXED_BYTES + _MOST_COUNT_BYTES]):
        count |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return count, _FIXED_BYTES + i + 1
    raise CoderError("the file is damaged: its number of symbols does not end. Copy it again.")


def _log2(probability: float) -> float:
    # What the arithmetic coder charges for a probability below what it can tell from zero.
    return math.log2(max(probability, 2.0**-32))
