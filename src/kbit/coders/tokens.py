"""Text to tokens and back: what a tokeniser keeps of a text, and what a model is given before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kbit.corpus import Document
from kbit.errors import CoderError, UsageError

# How far to look, and how many bytes must agree, to find the place where two texts go on alike.
REACH, ANCHOR = 32, 4
NO_ID = -1
# A tokeniser takes a document whole, at up to 200 bytes of memory for each of its own.
MOST_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """The token a model reads before the first of a document. It is given, not coded."""

    id: int
    token: str
    rule: str
    """`bos` or `eos` (the tokeniser's own), or `given`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenised:
    """A document as tokens."""

    document: Document
    ids: list[int]
    bytes_lost: int


def find_prefix(tokenizer: Any, given: str | int | None = None) -> Prefix:
    """The prefix of a tokeniser: its begin-of-text token, else its end-of-text token, else what is given.

    Args:
        tokenizer: a Transformers tokeniser.
        given: a token, or its number, that goes before the tokeniser's own.

    Raises:
        UsageError: what is given is not one token of this tokeniser.
        CoderError: the tokeniser has neither token, and none is given.
    """
    if given is not None:
        token_id = given if isinstance(given, int) else tokenizer.get_vocab().get(given, NO_ID)
        if not 0 <= token_id < len(tokenizer):
            raise UsageError(
                f"the prefix {given!r} is not one token of this tokeniser. Give a token as its vocabulary "
                f"spells it, or a number from 0 to {len(tokenizer) - 1}."
            )
        return Prefix(id=token_id, token=str(tokenizer.convert_ids_to_tokens(token_id)), rule="given")
    for rule, token_id in (("bos", tokenizer.bos_token_id), ("eos", tokenizer.eos_token_id)):
        if token_id is not None:
            return Prefix(id=token_id, token=str(tokenizer.convert_ids_to_tokens(token_id)), rule=rule)
    raise CoderError(
        "this tokeniser has neither a begin-of-text nor an end-of-text token, so the first token of a "
        "document has nothing to be predicted from. Name the token its model was trained to begin with: "
        "--prefix TOKEN, or prefix=… in Python."
    )


def tokenise(tokenizer: Any, document: Document) -> Tokenised:
    """Encode a document and see what decoding gives back.

    Nothing is added, and what looks like a special token in the text (`<s>`, say) is coded as its
    characters: the text of a document must not be able to begin another.

    Raises:
        CoderError: the document is longer than 16 MiB.
    """
    if not document.text:
        return Tokenised(document=document, ids=[], bytes_lost=0)
    if len(document.text) > MOST_BYTES // 4 and document.bytes > MOST_BYTES:
        raise CoderError(
            f"the document {document.name!r} has {document.bytes:,} bytes, and a tokeniser takes at most "
            f"{MOST_BYTES >> 20} MiB of one document here. Divide it (`kbit corpus --documents line` or "
            "`paragraph`), or take a coder over bytes (`kbit ls coders`)."
        )
    encoded = tokenizer(
        document.text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    ids = list(encoded["input_ids"])
    back, text = decode_tokens(tokenizer, ids), document.text.encode()
    return Tokenised(document=document, ids=ids, bytes_lost=0 if back == text else lost_bytes(text, back))


def decode_tokens(tokenizer: Any, ids: Sequence[int]) -> bytes:
    """The text of tokens, nothing tidied up, in UTF-8."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text.encode()


def lossless_tokens(tokenizer: Any, content: bytes, *, vocabulary: int) -> list[int]:
    """Tokens of a text that give it back, byte for byte.

    Args:
        tokenizer: a Transformers tokeniser.
        content: the text in UTF-8.
        vocabulary: the most tokens a model knows.

    Raises:
        CoderError: it is not UTF-8, or the tokeniser loses some of it, or has tokens the model has not.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CoderError(
            f"the text is not UTF-8 at byte offset {error.start} (byte 0x{content[error.start]:02x}), and a "
            "language model codes text only. Take a coder over bytes (`kbit ls coders`), or convert the text."
        ) from error
    item = tokenise(tokenizer, Document(name="text", text=text))
    if item.bytes_lost:
        raise CoderError(
            f"this model's tokeniser loses {item.bytes_lost} of the text's {len(content)} bytes, so its "
            "tokens would not give the text back. Take a model whose tokeniser falls back to bytes, or a "
            "coder over bytes (`kbit ls coders`)."
        )
    if item.ids and max(item.ids) >= vocabulary:
        raise CoderError(
            f"the tokeniser gives token {max(item.ids)}, but the model has {vocabulary} tokens. Model and "
            "tokeniser do not belong together."
        )
    return item.ids


def lost_bytes(text: bytes, back: bytes) -> int:
    """How many bytes of a text did not come back as they were, or came where none were.

    The two are read side by side; where they differ, the nearest place is sought from which they agree
    again, and the longer of the two passages in between is counted. So the count is zero only for equal
    texts, one byte changed, dropped or added counts one, and the count is never below what is needed to
    repair the text byte by byte.

    >>> lost_bytes(b"one two three", b"one  two three"), lost_bytes(b"Once upon", b"once upon")
    (1, 1)
    """
    i = j = lost = 0
    while i < len(text) and j < len(back):
        same = _common(text, i, back, j)
        i, j = i + same, j + same
        if i == len(text) or j == len(back):
            break
        skipped, added = _resume(text, i, back, j)
        lost += max(skipped, added)
        i, j = i + skipped, j + added
    return min(lost + max(len(text) - i, len(back) - j), max(len(text), len(back)))


def _common(text: bytes, i: int, back: bytes, j: int) -> int:
    """Length of the longest common beginning, by doubling and then halving."""
    step, same = 64, 0
    limit = min(len(text) - i, len(back) - j)
    while same < limit:
        step = min(step, limit - same)
        if text[i + same : i + same + step] == back[j + same : j + same + step]:
            same += step
            step *= 2
        elif step == 1:
            break
        else:
            step //= 2
    return same


def _resume(text: bytes, i: int, back: bytes, j: int) -> tuple[int, int]:
    """Bytes to pass over on either side so that the texts agree again; one each if that is not near."""
    best = (1, 1)
    cost = (2 * REACH, 0)
    for skipped in range(min(REACH, len(text) - i)):
        if skipped > cost[0]:
            break
        anchor = text[i + skipped : i + skipped + ANCHOR]
        added = back.find(anchor, j, j + REACH + ANCHOR) - j
        # Of two that cost the same, the one that keeps both texts in step.
        this = (max(skipped, added), abs(skipped - added))
        if added >= 0 and this < cost:
            best, cost = (skipped, added), this
    return best


def tokeniser_spelling(tokenizer: Any) -> str:
    """All that a tokeniser does, as text: equal for equal ones."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return str(backend.to_str()) if backend is not None else repr(sorted(tokenizer.get_vocab().items()))


def same_tokeniser(one: Any, other: Any) -> bool:
    """Whether two tokenisers give every text the same tokens."""
    backends = [getattr(t, "backend_tokenizer", None) for t in (one, other)]
    if all(backend is not None for backend in backends):
        states: list[str] = [backend.to_str() for backend in backends if backend is not None]
        return states[0] == states[1]
    same: bool = one.get_vocab() == other.get_vocab()
    return type(one) is type(other) and same
