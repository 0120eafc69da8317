"""One text with a name."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text with a name; its size is its UTF-8 bytes.

    >>> Document(name="greeting", text="你好").bytes
    6
    """

    name: str
    text: str

    @property
    def bytes(self) -> int:
        """Size in UTF-8 bytes."""
        return len(self.text.encode())

    @property
    def characters(self) -> int:
        """Size in Unicode code points."""
        return len(self.text)


def content_hash(documents: Iterable[Document]) -> str:
    """SHA-256 of a set of texts, as 64 hexadecimal digits.

    Only the texts count, as a multiset: neither names nor order nor how they lie in files change the hash,
    while a text that appears twice does.

    >>> a, b = Document(name="a", text="x"), Document(name="b", text="y")
    >>> content_hash([a, b]) == content_hash([b, a])
    True
    >>> content_hash([a]) == content_hash([a, a])
    False
    """
    digests = sorted(hashlib.sha256(document.text.encode()).digest() for document in documents)
    return hashlib.sha256(b"kbit documents 1\n" + b"".join(digests)).hexdigest()
