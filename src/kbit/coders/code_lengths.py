"""What a coder says of a document, and the protocol of coders."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from kbit.corpus import Document

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeLengths:
    """Sums for one document or several; ratios are made at the end.

    >>> lengths = CodeLengths(document="greeting", bits=14.0, bytes=7, characters=3, tokens=2)
    >>> lengths.bits_per_byte, lengths.lossless
    (2.0, True)
    """

    document: str
    """Name of the document."""
    bits: float
    """Code length. A begin is given, an end is not coded."""
    bytes: int
    """UTF-8 bytes of the text, lost ones included."""
    characters: int
    """Unicode code points of the text."""
    tokens: int
    """Symbols coded: tokens of a language model, bytes of a byte coder."""
    bytes_lost: int = 0
    """Bytes of the text that the code does not give back (see `kbit.coders.tokens`)."""

    @property
    def lossless(self) -> bool:
        """Whether the code gives the text back."""
        return self.bytes_lost == 0

    @property
    def bits_per_byte(self) -> float | None:
        """Bits over bytes; None where there are no bytes."""
        return self.bits / self.bytes if self.bytes else None

    @property
    def bits_per_character(self) -> float | None:
        """Bits over code points; None where there are none."""
        return self.bits / self.characters if self.characters else None


@runtime_checkable
class Coder(Protocol):
    """Anything that gives each document a code length in bits.

    A coder is a true code: the probabilities of what can follow sum to one, and each document is coded
    without looking at another document that is coded.
    """

    @property
    def name(self) -> str:
        """`kneser-ney-6`, `uniform`, `unigram`, or a model's name."""
        ...

    @property
    def settings(self) -> Mapping[str, Json]:
        """All that changes the figure, for the identity of a measurement."""
        ...

    @property
    def version(self) -> int:
        """Version of the algorithm: raised whenever its numbers change."""
        ...

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """One `CodeLengths` for each document, in their order, streamed."""
        ...


def total(lengths: Iterable[CodeLengths], *, document: str = "total") -> CodeLengths:
    """Sum code lengths.

    >>> parts = [CodeLengths(document=n, bits=8.0, bytes=1, characters=1, tokens=1) for n in "ab"]
    >>> total(parts).bits
    16.0
    """
    parts = list(lengths)
    return CodeLengths(
        document=document,
        bits=math.fsum(part.bits for part in parts),
        bytes=sum(part.bytes for part in parts),
        characters=sum(part.characters for part in parts),
        tokens=sum(part.tokens for part in parts),
        bytes_lost=sum(part.bytes_lost for part in parts),
    )


def of_bytes(document: Document, bits: float) -> CodeLengths:
    """Code lengths of a coder over bytes, whose tokens are the bytes."""
    size = document.bytes
    return CodeLengths(
        document=document.name, bits=bits, bytes=size, characters=document.characters, tokens=size
    )
