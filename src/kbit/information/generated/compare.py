"""Generated text against human text: how likely, how various, how repetitive, how new, how entropic."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbit.coders import Coder
from kbit.corpus import Document
from kbit.errors import CorpusError, MissingExtraError
from kbit.information.entropy_rate import FEWEST_SYMBOLS
from kbit.information.estimate import Estimate
from kbit.information.generated.bits import bits_figures
from kbit.information.generated.continuation import Continuation
from kbit.information.generated.figure import Figure, Options, PerText, apart, figure, per_text
from kbit.information.generated.novelty import TrainingGrams
from kbit.information.generated.reduction import fragment_figures, whole_figures
from kbit.information.generated.repetition import SIZES, distinct_grams, diversity, repetition
from kbit.information.generated.variety import (
    common_size,
    distinct,
    fixed_samples,
    over_samples,
    self_bleu,
    zipf_exponent,
)
from kbit.information.units import words

NOVEL_SIZES = (4, 8)
REPETITIVE = 0.05
ALIKE_LENGTHS = 1.25
Texts = Sequence[Continuation]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All figures by name, and what they rest on."""

    figures: Mapping[str, Figure]
    settings: Mapping[str, Any]
    warnings: tuple[str, ...]


def compare(
    generated: Texts,
    human: Texts,
    *,
    scorer: Coder | None,
    train: Iterable[Document] | None = None,
    generator: Coder | None = None,
    options: Options | None = None,
) -> Comparison:
    """Compare two sets of texts.

    Args:
        generated: what a model wrote; where its bits are known, its own entropy too.
        human: what people wrote; where it continues the same prompts, differences are paired.
        scorer: an independent coder that gives both their cross-entropy; None leaves that out.
        train: the training text, for novelty and as a reference of entropy reduction.
        generator: the model that generated, as it is, for coverage: its bits of the human text.
        options: see there.

    Raises:
        CorpusError: a set holds no text.
    """
    options = options or Options()
    for name, texts in (("generated", generated), ("human", human)):
        if not texts:
            raise CorpusError(f"there is no {name} text. Give documents that are not empty.")
    training = None if train is None else list(train)
    figures: dict[str, Figure] = {}
    figures |= bits_figures(generated, human, scorer, generator, options)
    sizes = common_sizes(generated, human, options)
    figures |= fragment_figures(generated, human, training, sizes["window_bytes"], options)
    figures |= whole_figures(generated, human, training, options)
    figures |= repetition_figures(generated, human, sizes["units_per_text"], options)
    figures |= _variety(generated, human, options)
    figures |= _novelty(generated, human, training, options)
    settings = {
        "scorer": None if scorer is None else scorer.name,
        "generator": None if generator is None else generator.name,
        "estimator": options.rate,
        **sizes,
        "paired_by_prompt": {c.source for c in generated} == {c.source for c in human},
        "seeds": sorted({c.seed for c in generated if c.seed is not None}),
        "seed": options.seed,
        "resamples": options.resamples,
    }
    return Comparison(
        figures=figures, settings=settings, warnings=tuple(_warnings(generated, human, figures))
    )


def common_sizes(generated: Texts, human: Texts, options: Options) -> dict[str, int]:
    """Sizes that both sets are cut to, so that length does not pass for repetition."""
    middle = [
        (float(np.median([len(words(c.text)) for c in texts])), float(np.median([c.bytes for c in texts])))
        for texts in (generated, human)
    ]
    return {
        "units_per_text": max(SIZES[-1], int(min(m[0] for m in middle))),
        "window_bytes": max(FEWEST_SYMBOLS, min(options.window, int(min(m[1] for m in middle)))),
    }


def repetition_figures(generated: Texts, human: Texts, units: int, options: Options) -> dict[str, Figure]:
    """rep-2 to rep-4 and diversity, of the first so many units of each text."""

    def counted(texts: Texts) -> PerText:
        rows = [[c for n in SIZES for c in distinct_grams(words(t.text)[:units], n)] for t in texts]
        return per_text(texts, *np.array(rows, dtype=np.float64).T.tolist())

    ours, theirs = counted(generated), counted(human)
    figures = {f"rep_{n}": figure("percent", ours, theirs, repetition(n), options=options) for n in SIZES}
    return figures | {"diversity": figure("share", ours, theirs, diversity, options=options)}


def _variety(generated: Texts, human: Texts, options: Options) -> dict[str, Figure]:
    """distinct-n, Zipf's exponent and self-BLEU, each of samples of one size."""
    split = [[words(c.text) for c in texts] for texts in (generated, human)]
    size = common_size(*split)
    samples = [fixed_samples(texts, size, seed=options.seed) for texts in split]
    figures = {}
    for name, statistic in (("distinct_1", distinct(1)), ("distinct_2", distinct(2)),
                            ("distinct_3", distinct(3)), ("zipf", zipf_exponent)):  # fmt: skip
        ours, theirs = (over_samples(sample, statistic) for sample in samples)
        figures[name] = Figure(
            unit="exponent" if name == "zipf" else "share",
            generated=ours,
            human=theirs,
            difference=apart(ours, theirs),
            reason=f"of samples of {size} words or signs",
        )
    count = min(options.self_bleu_texts, len(generated), len(human))
    try:
        blue = [self_bleu([c.text for c in t], count=count, seed=options.seed) for t in (generated, human)]
    except MissingExtraError as error:
        return figures | {"self_bleu": Figure(unit="BLEU", reason=str(error))}
    if blue[0] is None or blue[1] is None:
        return figures | {"self_bleu": Figure(unit="BLEU", reason="it needs two texts of each kind")}
    return figures | {
        "self_bleu": Figure(
            unit="BLEU",
            generated=blue[0].estimate,
            human=blue[1].estimate,
            difference=apart(blue[0].estimate, blue[1].estimate),
            reason=f"of {count} texts; {blue[0].signature}",
        )
    }


def _novelty(
    generated: Texts, human: Texts, training: Sequence[Document] | None, options: Options
) -> dict[str, Figure]:
    """Share of n-grams that the training text does not have."""
    if not training:
        return {
            f"novelty_{n}": Figure(unit="percent", reason="no training text: give one") for n in NOVEL_SIZES
        }
    grams = TrainingGrams(training, NOVEL_SIZES)

    def counted(texts: Texts, size: int) -> PerText:
        rows = [grams.novel(words(c.text), size) for c in texts]
        return per_text(texts, [100.0 * r[0] for r in rows], [float(r[1]) for r in rows])

    return {
        f"novelty_{n}": figure("percent", counted(generated, n), counted(human, n), options=options)
        for n in NOVEL_SIZES
    }


def _warnings(generated: Texts, human: Texts, figures: Mapping[str, Figure]) -> list[str]:
    found = []
    repeats = repetitive(figures)
    if repeats:
        ours, theirs = figures["rep_4"].generated, figures["rep_4"].human
        found.append(
            f"the generated text repeats itself: {_value(ours)}% of its 4-grams stood in the same text "
            f"before, against {_value(theirs)}% in human text."
        )
    for name in ("entropy_reduction_random", "whole_entropy_reduction_random"):
        over = figures.get(name, Figure(unit="")).difference
        if over is not None and over.low is not None and over.low > 0:
            why = "because the text repeats itself: that is" if repeats else "which by itself is"
            found.append(
                f"the entropy reduction ({name}) is {over.value:.3f} bits per byte above that of human "
                f"text, {why} no merit. Its target is human text's own."
            )
    lengths = [float(np.mean([c.bytes for c in texts])) for texts in (generated, human)]
    if max(lengths) > ALIKE_LENGTHS * min(lengths):
        found.append(
            f"texts are {lengths[0]:.0f} bytes long where generated and {lengths[1]:.0f} where human: "
            "entropies depend on length. Compare human text cut as the generated one is: kbit generate "
            "--human-out writes it."
        )
    broken = sum("\ufffd" in c.text for c in generated)
    if broken:
        found.append(
            f"{broken} generated texts hold bytes that are no character (shown as U+FFFD, three bytes)."
        )
    if any(len(texts) < 10 for texts in (generated, human)):
        found.append("with fewer than ten texts of a kind, intervals are too narrow.")
    return found


def repetitive(figures: Mapping[str, Figure]) -> bool:
    """Whether the diversity of generated text is below that of human text by 0.05 or more, surely."""
    below = figures["diversity"].difference
    return below is not None and (below.high if below.high is not None else below.value) < -REPETITIVE


def _value(estimate: Estimate | None) -> str:
    return "?" if estimate is None else f"{estimate.value:.1f}"
