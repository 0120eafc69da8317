"""Documents with a label each: a class, a topic, a rating, whatever a column holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kbit.corpus.document import Document
from kbit.corpus.read import ReadOptions, read_documents
from kbit.errors import CorpusError

NO_FIELD = "\0"
"""A field that no record has: a document takes the name of its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Documents and their labels, in the order of the files.

    Attributes:
        documents: those that have both text and label.
        labels: of each, as it is written (a number as its digits).
        without_label: documents left out because their label is empty or null.
    """

    documents: tuple[Document, ...]
    labels: tuple[str, ...]
    without_label: int


def read_labelled(paths: Sequence[Path | str], *, field: str, label: str) -> Labelled:
    """Read documents that are not empty and what another field says of each, a text or a number.

    Args:
        paths: as `read_documents` takes them: JSON lines, tables, data sets.
        field: the field or column of the text.
        label: of the label.

    Raises:
        CorpusError: no document has such a field, or a path cannot be read.
    """
    # A label may be a number, which a text may not; a name may be anything, so the label is read as one.
    read = [
        list(read_documents(paths, ReadOptions(field=field, name_field=name)))
        for name in (None, label, NO_FIELD)
    ]
    found, labels, empty = [], [], 0
    for document, labelled, placed in zip(*read, strict=True):
        if not document.text.strip():
            continue
        if labelled.name == placed.name or not labelled.name.strip():
            empty += 1
            continue
        found.append(document)
        labels.append(labelled.name.strip())
    if empty and not found:
        raise CorpusError(
            f"none of {empty} documents has a {label!r} that says something. Name a field or column of the "
            "text's file that labels it, or leave the label out."
        )
    return Labelled(documents=tuple(found), labels=tuple(labels), without_label=empty)
