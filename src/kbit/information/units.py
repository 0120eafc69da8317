"""What is counted in a text: bytes, characters, or words (characters where no spaces divide words)."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import regex
from numpy.typing import NDArray

from kbit.errors import UsageError, did_you_mean

Unit = Literal["byte", "character", "word"]
UNITS: tuple[Unit, ...] = ("byte", "character", "word")
# Scripts written without spaces between words: each character stands for itself.
UNSPACED = ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Yi")


@cache
def _word() -> "regex.Pattern[str]":
    unspaced = "".join(rf"\p{{Script={name}}}" for name in UNSPACED)
    # One character of an unspaced script with its marks; a word of the others; or one sign that is no space.
    return regex.compile(rf"[{unspaced}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}_]--[{unspaced}]]+|[^\s]", regex.V1)


def words(text: str) -> list[str]:
    """Words, signs, and the characters of scripts that put no spaces between words.

    >>> words("The hen's 2 eggs."), words("天地玄黄, etc.")
    (['The', 'hen', "'", 's', '2', 'eggs', '.'], ['天', '地', '玄', '黄', ',', 'etc', '.'])
    """
    found: list[str] = _word().findall(text)
    return found


def unspaced_share(text: str) -> float:
    """Share of the words of a text that are characters of scripts without spaces: 0 of none."""
    found = words(text)
    pattern = _unspaced()
    return sum(1 for word in found if pattern.match(word)) / len(found) if found else 0.0


@cache
def _unspaced() -> "regex.Pattern[str]":
    return regex.compile("[" + "".join(rf"\p{{Script={name}}}" for name in UNSPACED) + "]", regex.V1)


def split(text: str, unit: Unit) -> Sequence[str | int]:
    """The units of a text.

    Raises:
        UsageError: there is no such unit.
    """
    if unit == "byte":
        return text.encode()
    if unit == "character":
        return text
    if unit == "word":
        return words(text)
    raise UsageError(f"no unit {unit!r}: {did_you_mean(unit, UNITS)}")


def numbered(text: str, unit: Unit) -> NDArray[np.int64]:
    """The units of a text as whole numbers, equal where the units are; int64 [units].

    >>> numbered("abab", "character").tolist(), numbered("to be or not to be", "word").tolist()
    ([97, 98, 97, 98], [0, 1, 2, 3, 0, 1])
    """
    if unit == "byte":
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
    if unit == "character":
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    known: dict[str | int, int] = {}
    return np.array([known.setdefault(word, len(known)) for word in split(text, unit)], dtype=np.int64)
