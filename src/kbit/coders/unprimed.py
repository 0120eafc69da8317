"""General compressors that have read nothing: what a text costs by itself, without the container.

As estimators of an entropy rate they are upper bounds that fall with length. As baselines use those that are
primed (`kbit.coders.compressors`).
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.coders.compressors import COMPRESSORS, XZ_PRESET, Stream, XzStream
from kbit.corpus import Document
from kbit.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Unprimed:
    """One compressor; `module` is what must be installed for it."""

    name: str
    what: str
    source: str
    module: str
    make: Callable[[int], Stream]
    settings: Mapping[str, Json]


class _Bz2:
    def __init__(self, window: int) -> None:
        self._stream = bz2.BZ2Compressor(9)

    def feed(self, content: bytes) -> int:
        return len(self._stream.compress(content))

    def finish(self) -> int:
        return len(self._stream.flush())


class _Zlib:
    def __init__(self, window: int) -> None:
        self._stream = zlib.compressobj(9, wbits=-15)  # no container

    def feed(self, content: bytes) -> int:
        return len(self._stream.compress(content))

    def finish(self) -> int:
        return len(self._stream.flush())


_EXTREME = XZ_PRESET | lzma.PRESET_EXTREME  # slower; worth it where no training text is read first
_MODULES = {"zstd": "zstandard", "ppmd": "pyppmd"}
UNPRIMED: dict[str, Unprimed] = {
    row.name: row
    for row in (
        Unprimed(
            name="xz",
            what="xz -9e (LZMA2) by itself, its container left out",
            source="xz-utils",
            module="lzma",
            make=partial(XzStream, preset=_EXTREME),
            settings={"filter": "lzma2", "preset": f"{XZ_PRESET}e"},
        ),
        *(
            Unprimed(
                name=name,
                what=f"{name} by itself, its container left out",
                source=COMPRESSORS[name].source,
                module=module,
                make=COMPRESSORS[name].make,
                settings=COMPRESSORS[name].settings,
            )
            for name, module in _MODULES.items()
        ),
        Unprimed(
            name="bz2",
            what="bzip2 at level 9 by itself, in blocks of 900 kB, its container left out",
            source="Burrows & Wheeler 1994",
            module="bz2",
            make=_Bz2,
            settings={"level": 9},
        ),
        Unprimed(
            name="zlib",
            what="deflate at level 9 by itself, with a window of 32 KiB, its container left out",
            source="RFC 1951",
            module="zlib",
            make=_Zlib,
            settings={"level": 9, "window_bytes": 1 << 15},
        ),
    )
}


class UnprimedCoder:
    """Code lengths by a compressor that begins each document from nothing."""

    version = 1

    def __init__(self, name: str) -> None:
        """Find the compressor.

        Raises:
            UsageError: there is none of this name.
            MissingExtraError: it is not installed.
        """
        if name not in UNPRIMED:
            raise UsageError(f"there is no compressor {name!r}: {did_you_mean(name, UNPRIMED)}.")
        self._row = UNPRIMED[name]
        self._empty = self._size(b"")

    @property
    def name(self) -> str:
        """`xz-alone` for xz."""
        return f"{self._row.name}-alone"

    @property
    def settings(self) -> Mapping[str, Json]:
        """How the compressor is set."""
        return {**self._row.settings, "baseline_text": None}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Whole bytes of each document, less what the compressor writes for nothing."""
        for document in documents:
            yield of_bytes(document, 8.0 * max(0, self._size(document.text.encode()) - self._empty))

    def _size(self, content: bytes) -> int:
        stream = self._row.make(len(content))
        return stream.feed(content) + stream.finish()
