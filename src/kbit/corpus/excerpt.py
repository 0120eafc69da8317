"""A small test text from large documents."""

from collections.abc import Sequence

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


def _cut_at_line(text: str, most_bytes: int) -> str:
    content = text.encode()
    if len(content) <= most_bytes:
        return text
    return content[: content.rfind(b"\n", 0, most_bytes) + 1].decode()
