"""General compressors primed with a text: what a document adds to what they have already read.

A document's code length is C(training + document) - C(training): whole bytes, to within a byte or two of
rounding at the end, and without the container, which both have. The training text is read once. Where the
system can fork (not Windows), each document is coded by a child that shares what was read and goes away
again; elsewhere the training text is read again for each document.
"""

import lzma
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.corpus import Document, content_hash
from kbit.errors import CoderError, MissingExtraError, UsageError, did_you_mean

PPMD_ORDER = 8
PPMD_MEMORY_BYTES = 1 << 28
ZSTD_LEVEL = 19
XZ_PRESET = 9
# Room for the document behind the training text in the window; longer documents push the text out of it.
ROOM_BYTES = 1 << 22


class Stream(Protocol):
    """A compressor that is fed piece by piece and says how many bytes it has put out."""

    def feed(self, content: bytes) -> int:
        """Bytes put out for this content so far."""
        ...

    def finish(self) -> int:
        """Bytes put out at the end."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressor:
    """One compressor: how a stream whose window holds so many bytes is made, and how it is set."""

    name: str
    what: str
    source: str
    make: Callable[[int], Stream]
    settings: Mapping[str, Json]


class XzStream:
    """LZMA2 without a container."""

    def __init__(self, window: int, *, preset: int = XZ_PRESET) -> None:
        dictionary = min(max(window, 1 << 16), 1536 << 20)  # the most liblzma takes
        options = {"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary}
        self._stream = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[options])

    def feed(self, content: bytes) -> int:
        """Bytes put out for this content so far."""
        return len(self._stream.compress(content))

    def finish(self) -> int:
        """Bytes put out at the end."""
        return len(self._stream.flush())


class _Zstd:
    def __init__(self, window: int) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError("compressors", needed_for="the coder 'zstd'") from error
        log = min(max((window - 1).bit_length(), 17), 31)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            ZSTD_LEVEL, window_log=log, write_checksum=0, write_content_size=0
        )
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    def feed(self, content: bytes) -> int:
        return len(self._stream.compress(content))

    def finish(self) -> int:
        return len(self._stream.flush())


class _Ppmd:
    def __init__(self, window: int) -> None:
        try:
            import pyppmd
        except ImportError as error:
            raise MissingExtraError("compressors", needed_for="the coder 'ppmd'") from error
        self._stream: Any = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY_BYTES)

    def feed(self, content: bytes) -> int:
        return len(self._stream.encode(content))

    def finish(self) -> int:
        return len(self._stream.flush())


COMPRESSORS: dict[str, Compressor] = {
    row.name: row
    for row in (
        Compressor(
            name="xz",
            what="xz (LZMA2), its dictionary primed with the baseline text",
            source="xz-utils",
            make=XzStream,
            settings={"filter": "lzma2", "preset": XZ_PRESET},
        ),
        Compressor(
            name="zstd",
            what=f"Zstandard at level {ZSTD_LEVEL}, its window primed with the baseline text",
            source="RFC 8878",
            make=_Zstd,
            settings={"level": ZSTD_LEVEL},
        ),
        Compressor(
            name="ppmd",
            what=f"PPMd variant H of order {PPMD_ORDER}, primed with the baseline text",
            source="Shkarin 2002",
            make=_Ppmd,
            settings={"variant": "H", "order": PPMD_ORDER, "memory_bytes": PPMD_MEMORY_BYTES},
        ),
    )
}


class CompressorCoder:
    """Code lengths by a general compressor that has read the baseline text first."""

    version = 1

    def __init__(self, compressor: Compressor, training: bytes, *, baseline_hash: str) -> None:
        self._compressor = compressor
        self._training = training
        self.baseline_hash = baseline_hash
        # Made and fed at once, so that an absent extra is told before anything is measured.
        self._window = len(training) + ROOM_BYTES
        self._stream = compressor.make(self._window)
        self._stream.feed(training)
        self._alone = self._added(b"")

    @classmethod
    def fit(cls, name: str, documents: Iterable[Document]) -> Self:
        """Read a baseline text, its documents one after the other.

        Raises:
            UsageError: there is no such compressor.
            CoderError: the text has no bytes.
            MissingExtraError: the compressor is not installed.
        """
        if name not in COMPRESSORS:
            raise UsageError(f"there is no compressor {name!r}: {did_you_mean(name, COMPRESSORS)}.")
        held: list[bytes] = []
        baseline_hash = content_hash(_noted(documents, held))
        training = b"".join(held)
        if not training:
            raise CoderError(
                f"the baseline text has no bytes, so {name} cannot be primed with it. "
                "Give text with --baseline-text, or leave this baseline out."
            )
        return cls(COMPRESSORS[name], training, baseline_hash=baseline_hash)

    @property
    def name(self) -> str:
        """`xz`, `zstd` or `ppmd`."""
        return self._compressor.name

    @property
    def settings(self) -> Mapping[str, Json]:
        """How the compressor is set, and the hash of the text it is primed with."""
        return {**self._compressor.settings, "baseline_text": self.baseline_hash}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """What each document adds to the compressed training text, in whole bytes."""
        for document in documents:
            added = self._added(document.text.encode()) - self._alone if document.text else 0
            # Rounding at the end of the code can make a text of a few bytes seem free.
            yield of_bytes(document, 8.0 * max(added, 0))

    def _added(self, content: bytes) -> int:
        if hasattr(os, "fork"):
            return _in_child(lambda: self._stream.feed(content) + self._stream.finish())
        stream = self._compressor.make(self._window)
        before = stream.feed(self._training)
        return before + stream.feed(content) + stream.finish()


def _in_child(count: Callable[[], int]) -> int:
    """A number found by a copy of this process, which changes nothing here."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # The child runs nothing but the compressor, takes no lock and leaves without cleaning up.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, count().to_bytes(8, "little", signed=True))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0 or len(answer) != 8:
        raise CoderError(f"a compressor ended with status {status}; is there memory for another process?")
    return int.from_bytes(answer, "little", signed=True)


def _noted(documents: Iterable[Document], held: list[bytes]) -> Iterator[Document]:
    for document in documents:
        held.append(document.text.encode())
        yield document
