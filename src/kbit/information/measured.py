"""A text measured with a model and a ladder of baselines: what `kbit measure` prints."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kbit.coders import HEADLINE, CodeLengths, Coder, total
from kbit.corpus import Document
from kbit.information.estimate import RESAMPLES, Estimate
from kbit.information.gain import bits_per_byte, bits_per_character, gain
from kbit.information.resample import Floats, difference, estimate, grouped, ratio

FEW_DOCUMENTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineFigures:
    """One step of the ladder: a baseline on the text, and the model's gain over it."""

    bits_per_byte: Estimate
    gain: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """From one coder of the ladder to the next better one; gains of steps add up."""

    lower: str
    upper: str
    gain: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredText:
    """Code lengths of a text, and what the model gains over each baseline on it."""

    total: CodeLengths
    documents: tuple[CodeLengths, ...]
    bits_per_byte: Estimate
    bits_per_character: Estimate
    baselines: Mapping[str, BaselineFigures]
    steps: tuple[Step, ...]
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
    rungs = [(coder.name, lengths)]
    for other in baselines:
        theirs = list(other.code_lengths(documents))
        rungs.append((other.name, theirs))
        figures[other.name] = BaselineFigures(
            bits_per_byte=bits_per_byte(theirs, seed=seed, resamples=resamples),
            gain=gain(lengths, theirs, seed=seed, resamples=resamples),
        )
    summed = total(lengths)
    return MeasuredText(
        total=summed,
        documents=tuple(lengths),
        bits_per_byte=bits_per_byte(lengths, seed=seed, resamples=resamples),
        bits_per_character=bits_per_character(lengths, seed=seed, resamples=resamples),
        baselines=figures,
        steps=ladder(rungs, seed=seed, resamples=resamples),
        warnings=tuple(_warnings(summed, documents, baseline_documents)),
    )


def ladder(
    rungs: Sequence[tuple[str, Sequence[CodeLengths]]], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Step, ...]:
    """Coders in order of their bits, the worst first, with what each step down gains, paired by document."""
    ordered = sorted(rungs, key=lambda rung: -sum(c.bits for c in rung[1]))
    return tuple(
        Step(lower=worse, upper=better, gain=gain(best, most, seed=seed, resamples=resamples))
        for (worse, most), (better, best) in pairwise(ordered)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Memorisation:
    """What a model has of its own training text beyond what it has of held-out text.

    Attributes:
        trained_on: bits per byte of the model on text it was trained on; `held_out` on text it was not.
        difference: held out less trained on. Some of it may be that one text is harder than the other.
        reference: the same difference of a coder that has seen neither, which is such a difference.
        memorised: the one less the other, bits per byte.
    """

    trained_on: Estimate
    held_out: Estimate
    difference: Estimate
    reference: Estimate
    memorised: Estimate


def memorisation(
    coder: Coder,
    reference: Coder,
    trained_on: Sequence[Document],
    held_out: Sequence[Document],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Memorisation:
    """Compare a model's bits of text it was trained on with those of held-out text.

    Args:
        coder: the model.
        reference: a coder that was fitted to neither (it learns each document from nothing).
        trained_on: documents of the training text, best cut as the held-out ones are.
        held_out: documents that were not.
        seed: of the resampling.
        resamples: how many.
    """
    sides = []
    for kind, documents in (("trained on", trained_on), ("held out", held_out)):
        ours, theirs = (list(c.code_lengths(documents)) for c in (coder, reference))
        keys = [f"{kind} {i}" for i in range(len(ours))]
        sides.append(
            grouped(keys, [c.bits for c in ours], [float(c.bytes) for c in ours], [c.bits for c in theirs])
        )
    trained, held = sides
    options = {"seed": seed, "resamples": resamples}
    return Memorisation(
        trained_on=estimate(trained, ratio, **options),
        held_out=estimate(held, ratio, **options),
        difference=difference(held, trained, ratio, **options),
        reference=difference(held, trained, _of_reference, **options),
        memorised=difference(held, trained, _beyond_reference, **options),
    )


def _of_reference(sums: Floats) -> Floats:
    result: Floats = sums[..., 2] / sums[..., 1]
    return result


def _beyond_reference(sums: Floats) -> Floats:
    result: Floats = (sums[..., 0] - sums[..., 2]) / sums[..., 1]
    return result


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
