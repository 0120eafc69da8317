"""Bits per byte, and what one coder gains over another on the same text."""

from collections.abc import Sequence

from kbit.coders import CodeLengths
from kbit.errors import CoderError
from kbit.information.estimate import RESAMPLES, Estimate, paired_bootstrap


def bits_per_byte(lengths: Sequence[CodeLengths], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Sum of bits over sum of UTF-8 bytes.

    Raises:
        CorpusError: there are no bytes.
    """
    return paired_bootstrap(
        [c.bits for c in lengths], [c.bytes for c in lengths], seed=seed, resamples=resamples
    )


def bits_per_character(
    lengths: Sequence[CodeLengths], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Sum of bits over sum of Unicode code points: in Chinese a byte is a third of a character."""
    return paired_bootstrap(
        [c.bits for c in lengths], [c.characters for c in lengths], seed=seed, resamples=resamples
    )


def gain(
    model: Sequence[CodeLengths],
    baseline: Sequence[CodeLengths],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Bits per byte that a model gains over a baseline: (L_baseline - L_model) / bytes; may be negative.

    Gains add up along a ladder of coders: that of c over a is that of b over a and of c over b.

    Args:
        model: code lengths of each document under the model.
        baseline: those of the same documents, in the same order, under the baseline.
        seed: of the resampling.
        resamples: how many.

    Returns:
        The gain with a paired interval: documents are drawn with both code lengths.

    Raises:
        CoderError: the two are not of the same documents.
        CorpusError: there are no bytes.
    """
    require_same_documents(model, baseline)
    return paired_bootstrap(
        [b.bits - m.bits for m, b in zip(model, baseline, strict=True)],
        [m.bytes for m in model],
        seed=seed,
        resamples=resamples,
    )


def require_same_documents(one: Sequence[CodeLengths], other: Sequence[CodeLengths]) -> None:
    """Refuse two lists of code lengths that are not of the same documents in the same order.

    Raises:
        CoderError: naming the first that differs.
    """
    if len(one) != len(other):
        raise CoderError(
            f"code lengths of {len(one)} and of {len(other)} documents cannot be compared: "
            "run both coders on the same documents."
        )
    for place, (a, b) in enumerate(zip(one, other, strict=True)):
        if (a.document, a.bytes, a.characters) != (b.document, b.bytes, b.characters):
            raise CoderError(
                f"document {place} is {a.document!r} of {a.bytes} bytes for one coder and {b.document!r} of "
                f"{b.bytes} bytes for the other: run both on the same documents in the same order."
            )


def break_even_bytes(stored_bits: int, gain_bits_per_byte: float) -> float | None:
    """How much text pays for a model: stored bits over gain; None where nothing is gained.

    A two-part code sends the model first, then the text; from this many bytes on it is shorter than the
    baseline's. What the baseline itself stores is not counted (it is fitted to a text that both sides have).

    Source: Rissanen, "Modeling by shortest data description", Automatica 14 (1978).

    >>> break_even_bytes(8_000_000, 0.5)
    16000000.0
    """
    return stored_bits / gain_bits_per_byte if gain_bits_per_byte > 0 else None
