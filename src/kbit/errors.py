"""Every error kbit raises on purpose descends from `KbitError`.

A message says what was wrong, what was given, what is allowed and what to do next.
"""

import difflib
from collections.abc import Iterable


class KbitError(Exception):
    """Root of kbit's errors. The command line prints its message and exits with 1."""


class UsageError(KbitError):
    """The call itself is wrong: an unknown name, an option out of range. Exit code 2."""


class FormatError(UsageError):
    """A weight format that does not exist, or that cannot hold this tensor."""


class ModelError(KbitError):
    """A model folder that is missing, broken, or not what it claims to be."""


class CorpusError(KbitError):
    """Text that cannot be read as asked."""


class CoderError(KbitError):
    """A coder that cannot give a code length for this text."""


class StoreError(KbitError):
    """The store cannot be opened, is newer than this kbit, or holds no such rows."""


class StudyError(KbitError):
    """A study file that is wrong, or a study that cannot be run."""


class LawError(KbitError):
    """A law that cannot be fitted to this data."""


class TrainingError(KbitError):
    """A training that cannot start or go on."""


class MissingExtraError(KbitError):
    """An optional dependency is absent."""

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra {extra!r}: pip install 'kbit[{extra}]'")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A sentence naming the nearest allowed words, or all of them if none is near.

    >>> did_you_mean("nf55", ["nf4", "nf5", "int4"])
    "did you mean 'nf5'?"
    >>> did_you_mean("zzz", ["nf4", "int4"])
    'allowed: nf4, int4'
    """
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "allowed: " + ", ".join(names)
