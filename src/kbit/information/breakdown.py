"""Where a model's gain is: by document, script, frequency of the token, and place in the context."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from kbit.coders.tokens import tokenise
from kbit.corpus import Document
from kbit.errors import CorpusError
from kbit.information.by_token import TokenTable
from kbit.information.estimate import RESAMPLES, Estimate
from kbit.information.resample import Floats, estimate, grouped, ratio

# Upper ends of bands, exclusive; the last is open.
FREQUENCIES = (1, 10, 100, 1000, 10_000)
PLACES = (16, 64, 256, 1024)
SCRIPTS = (
    "Latin", "Han", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu",
    "Thai", "Hangul", "Hiragana", "Katakana", "Georgian", "Armenian", "Khmer", "Lao", "Myanmar", "Tibetan",
)  # fmt: skip
LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One class of tokens.

    Attributes:
        tokens, bytes: how many.
        bits_per_byte: of the model.
        gain: over the baseline; None without one.
        cost: bits per byte more than the other model; None without one.
    """

    name: str
    tokens: int
    bytes: int
    bits_per_byte: Estimate
    gain: Estimate | None
    cost: Estimate | None


def breakdown(
    tables: Sequence[TokenTable],
    *,
    counts: Mapping[int, int] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, list[Share]]:
    """Figures by class, with intervals over documents; the sums over classes are those of the text.

    Args:
        tables: of the documents.
        counts: how often each token stands in the baseline text; without it there are no bands of frequency.
        seed: of the resampling.
        resamples: how many.

    Returns:
        `document`, `script`, `place` and, with counts, `frequency`: each a list, of classes that have bytes.
    """
    kinds: dict[str, Callable[[TokenTable], Sequence[str]]] = {
        "document": lambda table: [table.document.name] * len(table.ids),
        "script": _scripts,
        "place": lambda table: bands(table.before, PLACES),
    }
    if counts is not None:
        kinds["frequency"] = lambda table: bands([counts.get(i, 0) for i in table.ids], FREQUENCIES)
    return {kind: _shares(kind, tables, classes, seed, resamples) for kind, classes in kinds.items()}


def _shares(
    kind: str,
    tables: Sequence[TokenTable],
    classes: Callable[[TokenTable], Sequence[str]],
    seed: int,
    resamples: int,
) -> list[Share]:
    columns = [_columns(table) for table in tables]
    labels = [np.array(classes(table), dtype=object) for table in tables]
    names = list(dict.fromkeys(name for of in labels for name in of))
    if kind in ("place", "frequency"):
        names.sort(key=lambda name: int(name.split()[0].replace(",", "")))
    found = []
    for name in names:
        sums = np.array([c[of == name].sum(axis=0) for c, of in zip(columns, labels, strict=True)])
        if not sums[:, 1].sum():
            continue
        keys = [f"{i}" for i in range(len(tables))]

        def figure(column: int, sums: Floats = sums, keys: Sequence[str] = keys) -> Estimate | None:
            if np.isnan(sums[:, column]).any():
                return None
            try:
                pair = grouped(keys, sums[:, column].tolist(), sums[:, 1].tolist())
                return estimate(pair, ratio, seed=seed, resamples=resamples)
            except CorpusError:
                return None

        bits = figure(0)
        if bits is not None:
            found.append(
                Share(
                    name=name,
                    tokens=int(sums[:, 4].sum()),
                    bytes=int(sums[:, 1].sum()),
                    bits_per_byte=bits,
                    gain=figure(2),
                    cost=figure(3),
                )
            )
    if kind in ("document", "script"):
        found.sort(key=lambda share: -share.bytes)
    return found


def _columns(table: TokenTable) -> NDArray[np.float64]:
    """By token: bits, bytes, baseline's bits less the model's, the model's less the other's, one."""
    nothing = np.full(len(table.ids), np.nan)
    gained = nothing if table.baseline_bits is None else table.baseline_bits - table.model_bits
    cost = nothing if table.against_bits is None else table.model_bits - table.against_bits
    return np.stack(
        [table.model_bits, table.sizes.astype(np.float64), gained, cost, np.ones(len(table.ids))], axis=1
    )


def bands(values: Iterable[int], ends: Sequence[int]) -> list[str]:
    """The band of each value.

    >>> bands([0, 5, 1000, 20000], (1, 10, 100, 1000, 10_000))
    ['0', '1 to 9', '1,000 to 9,999', '10,000 and more']
    """
    starts = [0, *ends]
    names = [
        f"{a:,}" if b == a + 1 else f"{a:,} to {b - 1:,}" for a, b in zip(starts, ends, strict=False)
    ] + [f"{ends[-1]:,} and more"]
    places = np.searchsorted(np.array(ends), np.asarray(list(values)), side="right")
    return [names[i] for i in places.tolist()]


def _scripts(table: TokenTable) -> list[str]:
    """By token; one that only completes a character is of that character's script."""
    found: list[str] = []
    for piece in table.pieces:
        found.append(script_of(piece) if piece or not found else found[-1])
    return found


@cache
def script_of(piece: str) -> str:
    r"""Unicode script of the first letter of a token; else what its first sign is.

    >>> script_of(" hen"), script_of("天地"), script_of(" 42"), script_of("\n"), script_of("(")
    ('Latin', 'Han', 'digits', 'white space', 'signs')
    """
    letter = LETTER.search(piece)
    if letter is None:
        rest = piece.strip()
        if not rest:
            return "white space"
        return "digits" if rest[0].isdigit() else "signs"
    found = (name for name in SCRIPTS if _script(name).match(letter.group()))
    return next(found, "other scripts")


@cache
def _script(name: str) -> "regex.Pattern[str]":
    return regex.compile(rf"\p{{Script={name}}}")


def token_counts(tokenizer: Any, documents: Iterable[Document]) -> Counter[int]:
    """How often each token stands in a text."""
    counts: Counter[int] = Counter()
    for document in documents:
        counts.update(tokenise(tokenizer, document).ids)
    return counts
