"""The texts that come with kbit, by the names `ladder:held-out` and `ladder:train`."""

from pathlib import Path

from kbit.corpus.document import Document
from kbit.errors import CorpusError, did_you_mean

LADDER = "ladder:"
# Package data, as the models beside it; no code of theirs is needed to read it.
HELD_OUT = Path(__file__).parent.parent / "ladder" / "held-out.jsonl"
NAMES = ("ladder:held-out", "ladder:train")


def is_shipped(path: Path | str) -> bool:
    """Whether a path names a text that comes with kbit."""
    return str(path).startswith(LADDER)


def shipped_documents(name: str) -> list[Document]:
    """Documents of a shipped text.

    `ladder:held-out` is the demo's test text: 64 KB in beginnings of documents that no rung was trained on.
    `ladder:train` is what the running Python carries, without what is held out. On the Python version of the
    ladder's manifest this is the text the rungs were trained on, whole; on another, its counterpart: topics
    and modules are held out by name, and a document that holds a shipped test text under another name is
    left out too.

    Raises:
        CorpusError: there is no such text.
    """
    from kbit.corpus.contained import without_holders
    from kbit.corpus.read import read_documents
    from kbit.corpus.stdlib import stdlib_split

    if name not in NAMES:
        raise CorpusError(f"no text is called {name}: {did_you_mean(name, NAMES)}")
    held_out = list(read_documents([HELD_OUT]))
    if name == "ladder:held-out":
        return held_out
    return without_holders(stdlib_split().training, held_out)
