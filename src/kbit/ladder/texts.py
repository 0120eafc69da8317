"""The ladder's texts: held out (shipped), and trained on (rebuilt from the running Python)."""

from typing import Any

from kbit.corpus.document import Document
from kbit.corpus.shipped import HELD_OUT, shipped_documents


def held_out() -> list[Document]:
    """The demo's test text: 64 KB in beginnings of documents that no rung was trained on."""
    return shipped_documents("ladder:held-out")


def train() -> list[Document]:
    """What the running Python carries, without what is held out (`kbit.corpus.shipped`)."""
    return shipped_documents("ladder:train")


def listing() -> list[dict[str, Any]]:
    """One row a text, for `kbit ls data`."""
    return [
        {
            "name": "ladder:held-out",
            "what": "the beginnings of 47 documents of Python's library and reference, held out; 64 KB",
            "path": str(HELD_OUT),
        },
        {
            "name": "ladder:train",
            "what": "the running Python's library and reference, without what is held out; about 10 MB",
            "path": None,
        },
    ]
