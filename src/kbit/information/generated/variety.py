"""How various texts are among themselves: distinct-n, the exponent of Zipf's law, self-BLEU.

All three depend on how much text is looked at, so each takes samples of one size; the spread is that of
samples that share no text.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

from kbit.errors import MissingExtraError
from kbit.information.estimate import Estimate
from kbit.information.generated.repetition import distinct_grams
from kbit.information.units import unspaced_share

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

Units = Sequence[str]
MOST_SAMPLES = 20
ONE_SAMPLE = "the text gives one sample of this size: give more text for an interval"
FEWEST_UNITS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedSamples:
    """Samples of one size from the documents of a set.

    Attributes:
        size: units of each sample.
        samples: each the units of some documents joined, cut to the size.
    """

    size: int
    samples: tuple[tuple[str, ...], ...]


def fixed_samples(texts: Sequence[Units], size: int, *, seed: int = 0) -> FixedSamples:
    """Samples of `size` units, of documents in random order; no document is in two."""
    order = np.random.default_rng(seed).permutation(len(texts))
    samples: list[tuple[str, ...]] = []
    held: list[str] = []
    for place in order:
        held += texts[place]
        if len(held) >= size:
            samples.append(tuple(held[:size]))
            held = []
        if len(samples) == MOST_SAMPLES:
            break
    return FixedSamples(size=size, samples=tuple(samples))


def common_size(*sets: Sequence[Units]) -> int:
    """Units of a sample such that every set gives about eight samples where it can, at least 50 units."""
    fewest = min(sum(map(len, texts)) for texts in sets)
    return max(min(FEWEST_UNITS, fewest), fewest // 8)


def over_samples(samples: FixedSamples, figure: Callable[[Units], float]) -> Estimate | None:
    """Mean of a figure over samples, with Student's interval; None where there is no sample."""
    values = [figure(sample) for sample in samples.samples]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(value=mean, low=None, high=None, standard_error=None, reason=ONE_SAMPLE)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return Estimate(value=mean, low=mean - half, high=mean + half, standard_error=error)


def distinct(size: int) -> Callable[[Units], float]:
    """distinct-n: different n-grams over all n-grams (Li et al. 2016)."""

    def figure(units: Units) -> float:
        different, total = distinct_grams(units, size)
        return different / total if total else math.nan

    return figure


def zipf_exponent(units: Units) -> float:
    """The s that makes frequencies by rank likeliest under rank^-s; about 1 in natural text.

    Maximum likelihood over the ranks that were seen, which a straight line through logarithms, led by the
    many rare words, is not.

    Source: Clauset, Shalizi & Newman, "Power-law distributions in empirical data", SIAM Review 51 (2009).
    """
    _, counts = np.unique(np.array(units, dtype=object).astype(str), return_counts=True)
    counts = np.sort(counts)[::-1].astype(np.float64)
    if len(counts) < 2:
        return math.nan
    logs = np.log(np.arange(1, len(counts) + 1))

    def loss(s: float) -> float:
        return float(s * (counts @ logs) + counts.sum() * np.log(np.exp(-s * logs).sum()))

    return float(minimize_scalar(loss, bounds=(0.0, 10.0), method="bounded").x)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfBleu:
    """Self-BLEU with what it depends on."""

    estimate: Estimate
    texts: int
    signature: str


def self_bleu(texts: Sequence[str], *, count: int, seed: int = 0) -> SelfBleu | None:
    """Mean BLEU of each text against the others, 0 to 100: higher is less various.

    Args:
        texts: whole texts.
        count: how many are drawn; compare only figures of one number.
        seed: of the draw.

    Returns:
        None where there are fewer than `count` texts, or that is below 2.

    Raises:
        MissingExtraError: sacrebleu is not installed.

    Source: Zhu et al., "Texygen", SIGIR 2018; BLEU as sacrebleu has it, 4-grams, its tokeniser `13a`, or `zh`
    where most of the text is in scripts without spaces.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        raise MissingExtraError("bleu", needed_for="self-BLEU")
    if count < 2 or len(texts) < count:
        return None
    chosen = [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))[:count]]
    tokenizer = "zh" if unspaced_share(" ".join(chosen)) > 0.5 else "13a"
    bleu = bleu_metric(tokenizer)
    scores = [bleu.sentence_score(text, chosen[:i] + chosen[i + 1 :]).score for i, text in enumerate(chosen)]
    mean, error = float(np.mean(scores)), float(np.std(scores, ddof=1)) / math.sqrt(count)
    half = float(student.ppf(0.975, count - 1)) * error
    return SelfBleu(
        estimate=Estimate(value=mean, low=mean - half, high=mean + half, standard_error=error),
        texts=count,
        signature=str(bleu.get_signature()),
    )


def bleu_metric(tokenizer: str) -> "BLEU":
    """BLEU by sacrebleu, of a sentence only of the n-grams it is long enough for.

    Args:
        tokenizer: of sacrebleu: `13a`, `intl`, `zh`, `none`.
    """
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True, tokenize=tokenizer)
