"""Token n-grams fitted to a baseline text: what a model with the same tokeniser gains beyond a few tokens."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from kbit.coders.code_lengths import CodeLengths, Json
from kbit.coders.kneser_ney import Floats
from kbit.coders.token_grams import TokenKneserNey, TokenPredictor, fit_tokens
from kbit.coders.tokens import decode_tokens, lossless_tokens, tokenise, tokeniser_spelling
from kbit.corpus import Document, content_hash
from kbit.errors import CoderError, UsageError

MOST_ORDER = 8


class TokenNgramCoder:
    """Interpolated modified Kneser-Ney over the tokens of a tokeniser; every token keeps a probability.

    Documents begin with ^, a symbol that is no token, as those of the byte n-gram. A text that the tokeniser
    does not give back has `bytes_lost`.
    """

    version = 1

    def __init__(self, model: TokenKneserNey, tokenizer: Any, *, baseline_hash: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.baseline_hash = baseline_hash

    @classmethod
    def fit(cls, documents: Iterable[Document], tokenizer: Any, *, order: int = 3) -> Self:
        """Fit to a baseline text, in memory that grows with its distinct n-grams.

        Args:
            documents: the baseline text; read once.
            tokenizer: a Transformers tokeniser.
            order: tokens of the longest gram, 1 to 8.

        Raises:
            UsageError: the order is out of range.
            CoderError: the text has no tokens.
        """
        if not 1 <= order <= MOST_ORDER:
            raise UsageError(f"an n-gram of order {order} is asked for; orders are 1 to {MOST_ORDER}")
        digests: list[Document] = []
        tokens = (tokenise(tokenizer, document).ids for document in _noted(documents, digests))
        model = fit_tokens(tokens, vocabulary=len(tokenizer), order=order)
        if model is None:
            raise CoderError(
                "the baseline text has no tokens, so no n-gram can be fitted to it. "
                "Give text with --baseline-text, or leave this baseline out."
            )
        return cls(model, tokenizer, baseline_hash=content_hash(digests))

    @property
    def name(self) -> str:
        """`kneser-ney-3-tokens` for order three."""
        return f"kneser-ney-{self.model.order}-tokens"

    @property
    def settings(self) -> Mapping[str, Json]:
        """Order, tokeniser, smoothing, and the hash of the text it was fitted to."""
        return {
            "order": self.model.order,
            "unit": "token",
            "tokenizer": hashlib.sha256(tokeniser_spelling(self.tokenizer).encode()).hexdigest(),
            "vocabulary": self.model.vocabulary,
            "smoothing": "interpolated modified Kneser-Ney",
            "baseline_text": self.baseline_hash,
        }

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document, streamed."""
        for document in documents:
            item = tokenise(self.tokenizer, document)
            yield CodeLengths(
                document=document.name,
                bits=float(self.token_bits(item.ids).sum()),
                bytes=document.bytes,
                characters=document.characters,
                tokens=len(item.ids),
                bytes_lost=item.bytes_lost,
            )

    def token_bits(self, ids: Sequence[int]) -> Floats:
        """Bits of each token of a document."""
        bits: Floats = -np.log2(self.model.probability(np.array(ids, dtype=np.int64)))
        return bits

    def to_symbols(self, content: bytes) -> Sequence[int]:
        """Tokens of a text.

        Raises:
            CoderError: it is not UTF-8, or its tokens do not give it back.
        """
        return lossless_tokens(self.tokenizer, content, vocabulary=self.model.vocabulary)

    def to_bytes(self, symbols: Sequence[int]) -> bytes:
        """The text of tokens."""
        return decode_tokens(self.tokenizer, symbols)

    def predictor(self) -> TokenPredictor:
        """The model at the beginning of a document."""
        return TokenPredictor(self.model)


def _noted(documents: Iterable[Document], held: list[Document]) -> Iterator[Document]:
    for document in documents:
        held.append(document)
        yield document
