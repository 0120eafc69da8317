"""Each token of a text with its bits under one or two models and under a baseline over bytes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kbit.coders import Coder, LanguageModelCoder
from kbit.coders.tokens import same_tokeniser
from kbit.corpus import Document
from kbit.errors import CoderError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTable:
    """A document, token by token.

    Attributes:
        ends: where each token ends in the text's UTF-8 bytes, int64 [tokens]; it begins where the one before
            ends. A token that ends within a character ends, here, at that character's end.
        model_bits: float64 [tokens].
        against_bits: the same of the other model; None where there is none.
        baseline_bits: bits of the token's bytes under a coder that tells them; None where there is none.
        before: tokens the model reads before this one, the prefix not among them, int64 [tokens].
    """

    document: Document
    ids: tuple[int, ...]
    ends: Ints
    model_bits: Floats
    against_bits: Floats | None
    baseline_bits: Floats | None
    before: Ints

    @property
    def sizes(self) -> Ints:
        """Bytes of each token."""
        return np.diff(self.ends, prepend=0)

    @property
    def pieces(self) -> list[str]:
        """The text of each token; "" for one that ends within a character that another begins."""
        content = self.document.text.encode()
        starts = [0, *self.ends.tolist()]
        return [content[a:b].decode() for a, b in pairwise(starts)]


def token_tables(
    model: LanguageModelCoder,
    documents: Sequence[Document],
    *,
    against: LanguageModelCoder | None = None,
    baseline: Coder | None = None,
) -> Iterator[TokenTable]:
    """Code documents and keep what each token costs, streamed.

    Args:
        model: the coder that is looked at.
        documents: those without tokens are left out.
        against: another with the same tokeniser, a 16-bit original say.
        baseline: a coder over bytes that has `byte_bits`, the headline baseline say.

    Raises:
        CoderError: the tokenisers differ, the tokeniser does not tell where tokens lie, or the baseline does
            not tell the bits of each byte.
    """
    if against is not None and not same_tokeniser(model.tokenizer, against.tokenizer):
        raise CoderError(
            f"{model.name} and {against.name} have different tokenisers, so no token of one is a token of "
            "the other. Compare models of one family."
        )
    if baseline is not None and not hasattr(baseline, "byte_bits"):
        raise CoderError(
            f"the baseline {baseline.name} does not tell the bits of each byte. Take kneser-ney-6."
        )
    filled = [d for d in documents if d.text]
    others: Iterable[Any] = against.token_bits(filled) if against is not None else [None] * len(filled)
    for ours, theirs in zip(model.token_bits(filled), others, strict=True):
        ends = token_ends(model.tokenizer, ours.document)
        if len(ends) != len(ours.ids):
            raise CoderError(
                f"the tokeniser gives {ours.document.name!r} other tokens when asked where they lie."
            )
        yield TokenTable(
            document=ours.document,
            ids=tuple(ours.ids),
            ends=ends,
            model_bits=ours.bits,
            against_bits=None if theirs is None else theirs.bits,
            baseline_bits=None if baseline is None else _of_bytes(baseline, ours.document, ends),
            before=_before(model, len(ours.ids)),
        )


def token_ends(tokenizer: Any, document: Document) -> Ints:
    """Where each token ends in the text's bytes; between them the ends cover the whole text.

    Raises:
        CoderError: the tokeniser is one that does not tell.
    """
    try:
        encoded = tokenizer(
            document.text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
    except NotImplementedError as error:
        raise CoderError(
            "this tokeniser does not tell where its tokens lie in the text (it is a slow one). Convert it "
            "to a fast one (tokenizer.json)."
        ) from error
    lengths = np.array([len(c.encode()) for c in document.text], dtype=np.int64)
    bytes_before = np.concatenate(([0], np.cumsum(lengths)))
    offsets = [end for _, end in encoded["offset_mapping"]]
    if not offsets:
        return np.zeros(0, dtype=np.int64)
    found: Ints = np.maximum.accumulate(bytes_before[offsets])
    found[-1] = bytes_before[-1]
    return found


def _of_bytes(baseline: Any, document: Document, ends: Ints) -> Floats:
    each = np.concatenate(([0.0], np.cumsum(baseline.byte_bits(document), dtype=np.float64)))
    bits: Floats = np.diff(each[ends], prepend=0.0)
    return bits


def _before(model: LanguageModelCoder, tokens: int) -> Ints:
    found = np.zeros(tokens, dtype=np.int64)
    for window in model.plan.windows(tokens):
        found[window.scored_from : window.end] = np.arange(window.scored_from, window.end) - window.start
    return found


def as_record(table: TokenTable, tokenizer: Any) -> Mapping[str, Any]:
    """A line of `--by-token FILE`: one document, lists by token."""

    def told(bits: Floats | None) -> list[float] | None:
        return None if bits is None else [round(float(b), 4) for b in bits]

    return {
        "name": table.document.name,
        "text": table.document.text,
        "tokens": list(map(str, tokenizer.convert_ids_to_tokens(list(table.ids)))),
        "ends": table.ends.tolist(),
        "model_bits": told(table.model_bits),
        "against_bits": told(table.against_bits),
        "baseline_bits": told(table.baseline_bits),
    }
