"""The ladder's texts: held out (shipped), and trained on (rebuilt from the running Python)."""

from typing import Any

from kbit.corpus.contained import without_holders
from kbit.corpus.document import Document
from kbit.corpus.read import read_documents
from kbit.corpus.stdlib import stdlib_split
from kbit.ladder.models import FOLDER

HELD_OUT = FOLDER / "held-out.jsonl"


def held_out() -> list[Document]:
    """The demo's test text: 64 KB in beginnings of documents that no rung was trained on."""
    return list(read_documents([HELD_OUT]))


def train() -> list[Document]:
    """What the running Python carries, without what is held out.

    On the Python version of the ladder's manifest this is the text the rungs were trained on, whole; on
    another, its counterpart: topics and modules are held out by name, and a document that holds a shipped
    test text under another name is left out too.
    """
    return without_holders(stdlib_split().training, held_out())


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
