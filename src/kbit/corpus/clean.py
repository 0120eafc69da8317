"""Cleaning of documents, and which documents are no use: every step is asked for, and counted."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, cast

from kbit.corpus.document import Document
from kbit.errors import MissingExtraError, UsageError, did_you_mean

NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
# C0 but tab, newline and carriage return; delete; C1.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
LANGUAGE_CHARACTERS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaning:
    """What is done to each document, in this order.

    Attributes:
        fix_text: repair text decoded with the wrong encoding (ftfy), and nothing else: no quotation mark is
            straightened, no width changed, no entity resolved.
        normal_form: Unicode normal form, one of NFC, NFD, NFKC, NFKD.
        controls: remove control characters but tab, newline and carriage return.
        repeated_lines: keep one of lines that follow each other and are the same.
    """

    fix_text: bool = False
    normal_form: str | None = None
    controls: bool = False
    repeated_lines: bool = False

    def __post_init__(self) -> None:
        if self.normal_form is not None and self.normal_form not in NORMAL_FORMS:
            raise UsageError(
                f"there is no Unicode normal form {self.normal_form!r}: "
                f"{did_you_mean(self.normal_form, NORMAL_FORMS)}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which documents stay, judged after cleaning. An empty document never does.

    Attributes:
        least_bytes: shorter ones go.
        most_bytes: longer ones go; None for no limit.
        languages: only these stay (ISO 639-1 codes); none named keeps all.
        most_repeated_lines: the largest share of non-blank lines that stood in the document before
            (Rae et al. 2021, "Scaling language models", table A1, has 0.3); None for no limit.
    """

    least_bytes: int = 1
    most_bytes: int | None = None
    languages: tuple[str, ...] = ()
    most_repeated_lines: float | None = None

    def __post_init__(self) -> None:
        if self.most_bytes is not None and self.most_bytes < self.least_bytes:
            raise UsageError(
                f"there are no documents of at least {self.least_bytes} and at most {self.most_bytes} bytes."
            )
        share = self.most_repeated_lines
        if share is not None and not 0 <= share <= 1:
            raise UsageError(f"the share of repeated lines is {share}; give one from 0 to 1.")


@dataclass(slots=True)
class CleanTally:
    """How many documents each step changed, and by how many characters they became shorter."""

    documents: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)

    def count(self, step: str, before: str, after: str) -> None:
        """Count a step that may have changed a text."""
        if after != before:
            self.documents[step] += 1
            self.characters[step] += len(before) - len(after)


def clean(text: str, cleaning: Cleaning, tally: CleanTally) -> str:
    r"""A cleaned text.

    >>> tally = CleanTally()
    >>> clean("caf\u0065\u0301 \x07\nl\nl\n", Cleaning(normal_form="NFC", controls=True), tally)
    'café \nl\nl\n'
    >>> dict(tally.characters)
    {'normal_form': 1, 'controls': 1}
    """
    steps: Mapping[str, Callable[[str], str] | None] = {
        "fix_text": _fix_text if cleaning.fix_text else None,
        "normal_form": _normaliser(cleaning.normal_form) if cleaning.normal_form else None,
        "controls": _without_controls if cleaning.controls else None,
        "repeated_lines": _without_repeats if cleaning.repeated_lines else None,
    }
    for name, step in steps.items():
        if step is not None:
            before, text = text, step(text)
            tally.count(name, before, text)
    return text


def why_removed(document: Document, filters: Filters) -> tuple[str, Any] | None:
    """The reason for which a document does not stay and what was found; None if it stays."""
    size = document.bytes
    if not document.text.strip():
        return "empty", size
    if size < filters.least_bytes:
        return "too short", size
    if filters.most_bytes is not None and size > filters.most_bytes:
        return "too long", size
    if filters.most_repeated_lines is not None:
        share = repeated_line_share(document.text)
        if share > filters.most_repeated_lines:
            return "repeated lines", round(share, 4)
    if filters.languages:
        found = language_of(document.text)
        if found not in filters.languages:
            return "language", found
    return None


def repeated_line_share(text: str) -> float:
    r"""Share of the non-blank lines of a text that stood in it before.

    >>> repeated_line_share("a\nb\na\n\na")
    0.5
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def language_of(text: str) -> str:
    """ISO 639-1 code of the likeliest language of a text, by its first 4096 characters.

    Raises:
        MissingExtraError: py3langid is absent.
    """
    try:
        import py3langid
    except ImportError as error:
        raise MissingExtraError("language", needed_for="telling languages") from error
    return str(py3langid.classify(text[:LANGUAGE_CHARACTERS])[0])


def _fix_text(text: str) -> str:
    if text.isascii():
        return text
    import ftfy

    return ftfy.fix_text(
        text,
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
    )


def _normaliser(form: str) -> Callable[[str], str]:
    return lambda text: unicodedata.normalize(cast(Literal["NFC", "NFD", "NFKC", "NFKD"], form), text)


def _without_controls(text: str) -> str:
    return _CONTROL.sub("", text)


def _without_repeats(text: str) -> str:
    kept = []
    for line, same in groupby(text.splitlines(keepends=True)):
        kept += [line] if line.strip() else list(same)
    return "".join(kept)
