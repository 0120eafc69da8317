"""Entropy reduction: how much less entropy a text has, by itself, than random, shuffled and training text.

reduction = h(reference) - h(text), bits per byte, both by an estimator that needs no model, on texts of the
same sizes. It is above zero where the text has more order than the reference. It is no score to be made
large: a text that repeats itself has the most. What it should be near is the reduction of human text.

Two readings. Of *fragments*: windows over each document, each measured for itself, so that only order within
a window counts, and documents can be resampled. Of the *whole*: all documents as one sequence, where what
one document repeats of another counts too.
"""

import math
from collections.abc import Sequence

import numpy as np

from kbit.corpus import Document
from kbit.information.entropy_rate import FEWEST_SYMBOLS, EntropyRate, entropy_rate, rates_of
from kbit.information.estimate import Estimate
from kbit.information.generated.continuation import Continuation
from kbit.information.generated.figure import Figure, Options, PerText, figure, with_error
from kbit.information.generated.references import (
    MOST_WHOLE_BYTES,
    REFERENCES,
    References,
    sliding_windows,
    whole_text,
)
from kbit.information.resample import Floats, ratio

Texts = Sequence[Continuation]


def fragment_figures(
    generated: Texts, human: Texts, training: Sequence[Document] | None, window: int, options: Options
) -> dict[str, Figure]:
    """Entropy rate of fragments by themselves, and its reduction against references of the same sizes."""
    references = References(_reference_text(human, training), seed=options.seed)
    ours, theirs = (_fragments(texts, training, references, window, options) for texts in (generated, human))
    figures = {
        name: figure(
            "bits/byte",
            ours.get(name),
            theirs.get(name),
            ratio if name == "entropy_rate" else reduced,
            options=options,
            reason=None if name in ours and name in theirs else f"no text of {FEWEST_SYMBOLS} bytes",
        )
        for name in ("entropy_rate", *(f"entropy_reduction_{kind}" for kind in _kinds(training)))
    }
    if training is None:
        figures["entropy_reduction_training"] = Figure(
            unit="bits/byte", reason="no training text: give one; the other references are of human text"
        )
    return figures


def _fragments(
    texts: Texts, training: Sequence[Document] | None, references: References, window: int, options: Options
) -> dict[str, PerText]:
    """Bits and bytes of each window of a set, after those of references in its place."""
    windows = sliding_windows([c.text for c in texts], window, seed=options.seed)
    if not windows.texts:
        return {}
    own = _rated(windows.texts, options.rate)

    def rows(kept: Sequence[int], columns: Floats) -> PerText:
        of = [texts[windows.of[i]] for i in kept]
        return PerText(keys=[c.source for c in of], seeds=[c.seed for c in of], columns=columns)

    found = {"entropy_rate": rows(range(len(own)), own)}
    for kind in _kinds(training):
        taken = references.take(kind, own[:, 1].astype(int).tolist())
        # Cut to whole characters, the reference of a very short window may be too short.
        kept = [i for i, text in enumerate(taken) if len(text.encode()) >= FEWEST_SYMBOLS]
        theirs = _rated([taken[i] for i in kept], options.rate)
        found[f"entropy_reduction_{kind}"] = rows(kept, np.hstack([theirs, own[kept]]))
    return found


def _rated(texts: Sequence[str], estimator: str) -> Floats:
    """Bits and bytes of each text, [texts, 2]."""
    sizes = [len(text.encode()) for text in texts]
    return np.array([rates_of(texts, estimator), sizes], dtype=np.float64).T.reshape(len(texts), 2)


def reduced(sums: Floats) -> Floats:
    """Statistic: the first ratio less the second, of columns (bits, bytes, bits, bytes)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
    return result


def _kinds(training: Sequence[Document] | None) -> tuple[str, ...]:
    return REFERENCES if training else REFERENCES[:2]


def _reference_text(human: Texts, training: Sequence[Document] | None) -> str:
    return "".join(d.text for d in training) if training else "".join(c.text for c in human)


def whole_figures(
    generated: Texts, human: Texts, training: Sequence[Document] | None, options: Options
) -> dict[str, Figure]:
    """The same of all documents as one sequence: what documents repeat of each other counts."""
    size = min(sum(c.bytes + 1 for c in texts) for texts in (generated, human))
    size = min(size, MOST_WHOLE_BYTES)
    if size < 2 * FEWEST_SYMBOLS:
        return {"whole_entropy_rate": Figure(unit="bits/byte", reason="the texts are too short")}
    wholes = [whole_text([c.text for c in texts], size) for texts in (generated, human)]
    ours, theirs = (entropy_rate(whole, options.rate) for whole in wholes)
    figures = {"whole_entropy_rate": _both(ours, theirs)}
    references = References(_reference_text(human, training), seed=options.seed)
    for kind in _kinds(training):
        reference = entropy_rate(references.take(kind, [size])[0], options.rate)
        figures[f"whole_entropy_reduction_{kind}"] = Figure(
            unit="bits/byte",
            generated=_less(reference, ours),
            human=_less(reference, theirs),
            difference=_less(theirs, ours),
        )
    return figures


def _both(ours: EntropyRate, theirs: EntropyRate) -> Figure:
    return Figure(
        unit="bits/byte",
        generated=with_error(ours.bits_per_byte, _error(ours)),
        human=with_error(theirs.bits_per_byte, _error(theirs)),
        difference=_less(ours, theirs),
        reason=ours.warning,
    )


def _less(one: EntropyRate, other: EntropyRate) -> Estimate:
    errors = [_error(one), _error(other)]
    known = [e for e in errors if e is not None]
    error = math.hypot(*known) if len(known) == 2 else None
    return with_error(one.bits_per_byte - other.bits_per_byte, error)


def _error(rate: EntropyRate) -> float | None:
    if rate.low is None or rate.high is None:
        return None
    return (rate.high - rate.bits_per_symbol) / 1.96
