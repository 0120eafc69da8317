"""A text measured with a model and a ladder of baselines: what `kbit measure` prints."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kbit.coders import HEADLINE, CodeLengths, Coder, total
from kbit.corpus import Document
from kbit.information.estimate import RESAMPLES, Estimate
from kbit.information.gain import bits_per_byte, gain

FEW_DOCUMENTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineFigures:
    """One step of the ladder: a baseline on the text, and the model's gain over it."""

    bits_per_byte: Estimate
    gain: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredText:
    """Code lengths of a text, and what the model gains over each baseline on it."""

    total: CodeLengths
    documents: tuple[CodeLengths, ...]
    bits_per_byte: Estimate
    baselines: Mapping[str, BaselineFigures]
    warnings: tuple[str, ...]

    @property
    def headline(self) -> Estimate | None:
        """The gain over the headline baseline; None where it was not among the baselines."""
        figures = self.baselines.get(HEADLINE)
        return None if figures is None else figures.gain


def measure_text(
    coder: Coder,
    baselines: Sequence[Coder],
    documents: Sequence[Document],
    *,
    baseline_documents: Sequence[Document] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> MeasuredText:
    """Code a text with a model and with each baseline, and compare.

    Args:
        coder: the model.
        baselines: what it is compared with, made already.
        documents: the text; none of it should be in what the model or a baseline has learnt from.
        baseline_documents: what the baselines were fitted to, to warn of documents that are in both.
        seed: of the resampling.
        resamples: how many.

    Raises:
        CorpusError: the text is empty.
        CoderError: a coder cannot code it.
    """
    lengths = list(coder.code_lengths(documents))
    figures: dict[str, BaselineFigures] = {}
    for other in baselines:
        theirs = list(other.code_lengths(documents))
        figures[other.name] = BaselineFigures(
            bits_per_byte=bits_per_byte(theirs, seed=seed, resamples=resamples),
            gain=gain(lengths, theirs, seed=seed, resamples=resamples),
        )
    summed = total(lengths)
    return MeasuredText(
        total=summed,
        documents=tuple(lengths),
        bits_per_byte=bits_per_byte(lengths, seed=seed, resamples=resamples),
        baselines=figures,
        warnings=tuple(_warnings(summed, documents, baseline_documents)),
    )


def _warnings(
    summed: CodeLengths, documents: Sequence[Document], baseline_documents: Sequence[Document]
) -> list[str]:
    found = []
    if not summed.lossless:
        found.append(
            f"the tokeniser does not give the text back: {summed.bytes_lost} of {summed.bytes} bytes are "
            "lost, so the bits are those of another text. Do not compare them with those of a lossless coder."
        )
    both = _digests(documents) & _digests(baseline_documents)
    if both:
        found.append(
            f"{len(both)} of the documents are in the baseline text too: the baseline knows them by heart, "
            "and the gain over it is too low."
        )
    filled = sum(1 for document in documents if document.text)
    if 1 < filled < FEW_DOCUMENTS:
        found.append(
            f"the intervals resample {filled} documents; with so few they are too narrow. "
            f"Give {FEW_DOCUMENTS} or more, for example by splitting a book into chapters."
        )
    return found


def _digests(documents: Sequence[Document]) -> set[bytes]:
    return {hashlib.sha256(document.text.encode()).digest() for document in documents if document.text}
