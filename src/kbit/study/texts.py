"""The texts of a study: documents in one order, whatever the order of their files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kbit.corpus import Document, content_hash, read_documents
from kbit.errors import CorpusError, StudyError, did_you_mean
from kbit.study.study import Study

LADDER = "ladder:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Documents measured together.

    Attributes:
        name: what tables call it.
        documents: sorted by the hash of their text, so that parts of two measurements match by position
            even where files were renamed or read in another order.
        hash: content hash of the documents.
    """

    name: str
    documents: tuple[Document, ...]
    hash: str

    @property
    def bytes(self) -> int:
        """Size in UTF-8 bytes."""
        return sum(document.bytes for document in self.documents)

    @property
    def characters(self) -> int:
        """Size in Unicode code points."""
        return sum(document.characters for document in self.documents)


def make_text(name: str, documents: Sequence[Document]) -> Text:
    """A text from documents in any order.

    Raises:
        StudyError: there is not a byte in them.
    """
    ordered = sorted(documents, key=lambda d: hashlib.sha256(d.text.encode()).digest())
    if not any(document.text for document in ordered):
        raise StudyError(f"the text {name} is empty, so nothing can be measured per byte. Give a text.")
    return Text(name=name, documents=tuple(ordered), hash=content_hash(ordered))


def study_texts(study: Study) -> list[Text]:
    """The texts a study measures.

    Raises:
        StudyError: a text is missing, unreadable or empty; two names hold the same documents.
    """
    names = _names(study.texts)
    texts = [
        make_text(name, _documents(entry, study)) for entry, name in zip(study.texts, names, strict=True)
    ]
    seen: dict[str, str] = {}
    for text in texts:
        if text.hash in seen:
            raise StudyError(
                f"{study.file}: the texts {seen[text.hash]} and {text.name} hold the same documents. "
                "Name one of them."
            )
        seen[text.hash] = text.name
    return texts


def baseline_text(study: Study) -> Text | None:
    """What baselines are fitted on, all together; None if the study names none."""
    if not study.baseline_texts:
        return None
    documents = [d for entry in study.baseline_texts for d in _documents(entry, study)]
    return make_text(", ".join(study.baseline_texts), documents)


def text_of(entry: str, study: Study) -> Text:
    """One text by the name a study gives it.

    Raises:
        StudyError: it is missing, unreadable or empty.
    """
    return make_text(_names([entry])[0], _documents(entry, study))


def _documents(entry: str, study: Study) -> Sequence[Document]:
    if entry.startswith(LADDER):
        return _ladder_documents(entry, study)
    try:
        return list(read_documents([study.folder / entry]))
    except CorpusError as error:
        raise StudyError(f"{study.file}: {error}") from error


def _ladder_documents(entry: str, study: Study) -> Sequence[Document]:
    from kbit import ladder

    texts = {"held-out": ladder.held_out, "train": ladder.train}
    name = entry.removeprefix(LADDER)
    if name not in texts:
        raise StudyError(
            f"{study.file}: the shipped ladder has no text {entry!r}; "
            f"{did_you_mean(entry, [LADDER + t for t in texts])}"
        )
    return list(texts[name]())


def _names(entries: Sequence[str]) -> list[str]:
    """The last part of each path; the whole entry where two would share it."""
    short = [entry if entry.startswith(LADDER) else Path(entry).name or entry for entry in entries]
    return [s if short.count(s) == 1 else e for s, e in zip(short, entries, strict=True)]
