"""Text from tokens as they come: a character split over several tokens appears when it is whole."""

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "�"

# Decoders look at the neighbour of a token (a leading space, a run of bytes), so new tokens are decoded
# together with some before them.
CONTEXT_TOKENS = 8


class TextStream:
    """Turns tokens into pieces of text whose concatenation is the decoded text.

    A piece is held back while it ends in a replacement character: a byte-level or byte-fallback token
    may be a part of a character, which further tokens complete.

    Args of the constructor:
        tokenizer: a Transformers tokeniser.
        prompt: tokens before the first one; their text is not given again.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt[-CONTEXT_TOKENS:])
        self._start, self._given = 0, len(self._tokens)

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is not whole."""
        self._tokens.append(token)
        text = self._new_text()
        if not text or text.endswith(REPLACEMENT):
            return ""
        self._start, self._given = self._given, len(self._tokens)
        return text

    def end(self) -> str:
        """What is left: text held back because its last character never became whole."""
        text = self._new_text()
        self._start = self._given = len(self._tokens)
        return text

    def _new_text(self) -> str:
        before = self._decode(self._tokens[self._start : self._given])
        both = self._decode(self._tokens[self._start :])
        return both[len(before) :]

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
