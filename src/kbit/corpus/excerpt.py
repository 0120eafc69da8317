"""A small test text from large documents."""

from collections.abc import Iterator, Sequence

from kbit.corpus.document import Document
from kbit.corpus.split import position

LEAST_BYTES = 256


def excerpts(
    documents: Sequence[Document], *, total_bytes: int = 65_536, document_bytes: int = 1_600
) -> list[Document]:
    """A small test text: the beginnings of many documents, each cut at the end of a line.

    Documents are taken in the order of their hash, so that all kinds appear, and until the total is reached.

    Args:
        documents: held-out documents.
        total_bytes: the most UTF-8 bytes in all.
        document_bytes: the most of one document.
    """
    chosen: list[Document] = []
    left = total_bytes
    for document in sorted(documents, key=lambda d: position("excerpt/" + d.name)):
        text = _cut_at_line(document.text, min(document_bytes, left))
        if len(text.encode()) >= min(LEAST_BYTES, left):
            chosen.append(Document(name=document.name, text=text))
            left -= chosen[-1].bytes
        if left < 64:
            break
    return sorted(chosen, key=lambda d: d.name)


def pieces(documents: Sequence[Document], *, total_bytes: int, piece_bytes: int) -> list[Document]:
    """Pieces of long documents, spread evenly over all of them, as documents of their own.

    Each document is cut at ends of lines into pieces of at most `piece_bytes` (a longer line is cut inside,
    between characters); every n-th piece is taken, n being the least for which the total is not passed.

    Args:
        documents: such as books; pieces are named `NAME#00012`, by their place in the document.
        total_bytes: the most UTF-8 bytes in all.
        piece_bytes: the most of one piece.
    """
    cut = [
        Document(name=f"{document.name}#{number:05}", text=text)
        for document in sorted(documents, key=lambda d: d.name)
        for number, text in enumerate(_cut(document.text, piece_bytes))
    ]
    whole = sum(piece.bytes for piece in cut)
    every = max(1, -(-whole // max(total_bytes, 1)))
    while sum(piece.bytes for piece in cut[every // 2 :: every]) > total_bytes and every < len(cut):
        every += 1
    return cut[every // 2 :: every]


def _cut(text: str, most_bytes: int) -> Iterator[str]:
    content = text.encode()
    start = 0
    while start < len(content):
        end = start + most_bytes
        if end < len(content):
            line = content.rfind(b"\n", start, end) + 1
            end = line if line > start else end
            while content[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
        yield content[start:end].decode()
        start = end


def _cut_at_line(text: str, most_bytes: int) -> str:
    content = text.encode()
    if len(content) <= most_bytes:
        return text
    return content[: content.rfind(b"\n", 0, most_bytes) + 1].decode()
