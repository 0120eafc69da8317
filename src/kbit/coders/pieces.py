"""Documents cut into the short texts that have a latent vector each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kbit.coders.tokens import tokenise
from kbit.corpus import Document

# After a sentence's end, with the quotes that close it and the space behind.
_SENTENCE = re.compile(r"(?<=[.!?。！？…])[\"'”’」』）)]*\s+|(?<=[。！？…])[”’」』）]*|\n+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A short text as tokens, without begin and end."""

    ids: tuple[int, ...]
    whole: bool
    """Whether it ends where its sentence or document does; else it was cut because it is too long."""


def split_text(text: str, kind: str) -> list[str]:
    r"""Cut a text; the parts joined give it back.

    Args:
        text: of a document.
        kind: `sentence` (after an end of sentence or line), `window` or `document` (not cut here, but by
            length).

    >>> split_text('He said "No." She left.\nThe end', "sentence")
    ['He said "No." ', 'She left.\n', 'The end']
    >>> split_text("你好。再见！", "sentence")
    ['你好。', '再见！']
    """
    if kind != "sentence":
        return [text] if text else []
    parts, start = [], 0
    for match in _SENTENCE.finditer(text):
        if match.end() > start:
            parts.append(text[start : match.end()])
            start = match.end()
    return [*parts, text[start:]] if start < len(text) else parts


def pieces_of(document: Document, tokenizer: Any, *, kind: str, longest: int) -> tuple[list[Piece], int]:
    """A document's pieces, and how many of its bytes the tokeniser loses.

    Args:
        document: the text.
        tokenizer: of the model.
        kind: see `split_text`.
        longest: the most tokens of a piece, begin and end not among them.
    """
    found: list[Piece] = []
    lost = 0
    for number, text in enumerate(split_text(document.text, kind)):
        tokenised = tokenise(tokenizer, Document(name=f"{document.name} {number}", text=text))
        lost += tokenised.bytes_lost
        ids = tokenised.ids
        for start in range(0, len(ids), longest):
            cut = tuple(ids[start : start + longest])
            found.append(Piece(ids=cut, whole=start + longest >= len(ids)))
    return found, lost


def batch_of(pieces: Sequence[Piece], *, begin: int, end: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens: begin, the piece, end, padding.

    Returns:
        int64 [pieces, tokens], and bool of the same shape, True up to the end token.
    """
    width = max(len(piece.ids) for piece in pieces) + 2
    ids = torch.full((len(pieces), width), end, dtype=torch.int64)
    mask = torch.zeros((len(pieces), width), dtype=torch.bool)
    ids[:, 0] = begin
    for row, piece in enumerate(pieces):
        ids[row, 1 : 1 + len(piece.ids)] = torch.tensor(piece.ids, dtype=torch.int64)
        mask[row, : len(piece.ids) + 2] = True
    return ids, mask
