"""Calibration text as windows of tokens, and the hashes by which its documents are known again."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from kbit.corpus import Document, content_hash
from kbit.errors import ModelError, UsageError

DEFAULT_TOKENS = 131_072
DEFAULT_CONTEXT = 2048
LEAST_TOKENS = 256
# A piece of so many characters for each token of a window fills it in most languages.
CHARACTERS_A_TOKEN = 8
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """What a model reads while its codes are chosen.

    Attributes:
        kind: `text` that was given, or the model's `own`, written by itself.
        windows: int64 [length] each, beginning with the prefix; longest first.
        documents: SHA-256 of each document that was given, sorted; empty for the model's own.
        hash: of the documents as a set, and for the model's own of its tokens.
        seed: of the choice of windows, or of the writing.
        context: most tokens in a window.
    """

    kind: Literal["text", "own"]
    windows: tuple[Tensor, ...]
    documents: tuple[str, ...]
    hash: str
    seed: int
    context: int

    @property
    def tokens(self) -> int:
        """Tokens in all windows."""
        return sum(len(window) for window in self.windows)

    @property
    def windows_hash(self) -> str:
        """SHA-256 of the tokens, window by window: what the codes follow from."""
        digest = hashlib.sha256(b"kbit calibration windows 1\n")
        for window in self.windows:
            digest.update(len(window).to_bytes(8, "little"))
            digest.update(window.numpy().tobytes())
        return digest.hexdigest()


def document_hash(document: Document) -> str:
    """SHA-256 of a document's text, by which it is known under any name."""
    return hashlib.sha256(document.text.encode()).hexdigest()


def calibration_from_documents(
    tokenizer: Any,
    documents: Iterable[Document],
    *,
    context: int,
    tokens: int = DEFAULT_TOKENS,
    seed: int = 0,
) -> Calibration:
    """Windows from documents: these are cut into pieces, and as many as wanted are taken by lot.

    Only pieces that are taken are tokenised: a library costs no more than a book.

    Args:
        tokenizer: of the model.
        documents: the text.
        context: tokens in a window, the prefix among them.
        tokens: at most so many in all.
        seed: of the lot.

    Raises:
        UsageError: fewer than 256 tokens come of it, or a budget below that.
        ModelError: the tokeniser has no token to begin a text with.
    """
    if tokens < LEAST_TOKENS:
        raise UsageError(f"{tokens} tokens of calibration: give at least {LEAST_TOKENS}.")
    if context < 2:
        raise UsageError(f"a calibration context of {context} tokens: give at least 2.")
    prefix = prefix_of(tokenizer)
    given = list(documents)
    pieces = [text for document in given for text in _pieces(document.text, CHARACTERS_A_TOKEN * context)]
    chosen: list[Tensor] = []
    total = 0
    for index in torch.randperm(len(pieces), generator=torch.Generator().manual_seed(seed)).tolist():
        if total >= tokens:
            break
        ids = tokenizer(pieces[index], add_special_tokens=False, split_special_tokens=True, verbose=False)[
            "input_ids"
        ]
        # Whole windows; the rest of a piece only where it is all there is.
        ends = range(context - 1, len(ids) + 1, context - 1) or [len(ids)]
        for end in ends:
            window = [prefix, *ids[max(0, end - context + 1) : end]][: tokens - total]
            if len(window) > 1:
                chosen.append(torch.tensor(window, dtype=torch.int64))
                total += len(window)
    if total < LEAST_TOKENS:
        raise UsageError(
            f"the calibration text gives {total} tokens; at least {LEAST_TOKENS} are needed, and {tokens} "
            "are wanted. Give more text."
        )
    return Calibration(
        kind="text",
        windows=tuple(sorted(chosen, key=len, reverse=True)),
        documents=tuple(sorted({document_hash(document) for document in given})),
        hash=content_hash(given),
        seed=seed,
        context=context,
    )


def _pieces(text: str, length: int) -> list[str]:
    """A text cut at white space into pieces of about so many characters.

    >>> _pieces("one two three", 5)
    ['one two', ' three']
    """
    pieces, start = [], 0
    while start < len(text):
        match = _SPACE.search(text, start + length)
        end = match.start() if match else len(text)
        if end >= start + 2 * length:  # a text without spaces, such as Chinese
            end = start + length
        pieces.append(text[start:end])
        start = end
    return pieces


def prefix_of(tokenizer: Any) -> int:
    """The token that begins a text: begin-of-text, else end-of-text.

    Raises:
        ModelError: the tokeniser has neither.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise ModelError(
        "this tokeniser has neither a begin-of-text nor an end-of-text token, so a calibration window has no "
        "beginning. Set bos_token in tokenizer_config.json to the token the model was trained to begin with."
    )
