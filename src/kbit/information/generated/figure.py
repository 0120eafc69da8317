"""One figure of generated text, of human text beside it, and of their difference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kbit.coders.context_tree import DEFAULT_DEPTH
from kbit.errors import CorpusError
from kbit.information.estimate import RESAMPLES, Estimate
from kbit.information.generated.continuation import Continuation
from kbit.information.resample import (
    Floats,
    Statistic,
    Sums,
    contributions,
    difference,
    estimate,
    grouped,
    paired,
    ratio,
)

Side = Literal["generated", "human", "difference"]
DEFAULT_RATE = f"ctw-{DEFAULT_DEPTH}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PerText:
    """What a figure adds up, by text.

    Attributes:
        keys: group of each text: those that share one are drawn together.
        seeds: of the sampling; None for human text.
        columns: float64 [texts, columns].
    """

    keys: Sequence[str]
    seeds: Sequence[int | None]
    columns: Floats

    @property
    def sums(self) -> Sums:
        """Added up by group."""
        return grouped(self.keys, *self.columns.T.tolist())

    def of_seed(self, seed: int) -> Floats:
        """Sums over the texts of one seed."""
        kept = np.array([s == seed for s in self.seeds])
        total: Floats = self.columns[kept].sum(axis=0)
        return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure with its intervals.

    Attributes:
        unit: bits/byte, percent, ….
        generated, human: of the two sets; None where there is none, and `reason` says why.
        difference: generated less human.
        by_seed: of the generated texts of each seed of sampling.
        contributions: what each group says of the three, so that their mean is the figure (see
            `kbit.information.resample.contributions`); empty where documents cannot be told apart.
    """

    unit: str
    generated: Estimate | None = None
    human: Estimate | None = None
    difference: Estimate | None = None
    by_seed: Mapping[int, float] = field(default_factory=dict)
    contributions: Mapping[Side, Mapping[str, float]] = field(default_factory=dict)
    reason: str | None = None

    @property
    def spread_of_seeds(self) -> float | None:
        """Standard deviation between seeds; None below two."""
        values = list(self.by_seed.values())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What figures depend on besides the texts.

    Attributes:
        estimator: of entropy rates (`kbit.information.entropy_rate`).
        window: bytes of a fragment.
        self_bleu_texts: texts that self-BLEU is of.
        seed: of resampling and of draws.
        resamples: for intervals.
    """

    estimator: str | None = None
    window: int = 512
    self_bleu_texts: int = 50
    seed: int = 0
    resamples: int = RESAMPLES

    @property
    def rate(self) -> str:
        """The estimator of entropy rates: as given, else context-tree weighting."""
        return self.estimator or DEFAULT_RATE


def figure(
    unit: str,
    generated: PerText | None,
    human: PerText | None,
    statistic: Statistic = ratio,
    *,
    options: Options,
    reason: str | None = None,
) -> Figure:
    """A figure of two sets of texts; one that is not defined is left out, with a reason."""
    of = {"seed": options.seed, "resamples": options.resamples}
    try:
        return Figure(
            unit=unit,
            generated=None if generated is None else estimate(generated.sums, statistic, **of),
            human=None if human is None else estimate(human.sums, statistic, **of),
            difference=None
            if generated is None or human is None
            else difference(generated.sums, human.sums, statistic, **of),
            by_seed=_by_seed(generated, statistic),
            contributions=_contributions(generated, human, statistic),
            reason=reason,
        )
    except CorpusError as error:
        return Figure(unit=unit, reason=str(error))


def _contributions(
    generated: PerText | None, human: PerText | None, statistic: Statistic
) -> dict[Side, Mapping[str, float]]:
    found: dict[Side, Mapping[str, float]] = {}
    if generated is not None:
        found["generated"] = contributions(generated.sums, statistic)
    if human is not None:
        found["human"] = contributions(human.sums, statistic)
    if generated is not None and human is not None and paired(generated.sums, human.sums):
        found["difference"] = contributions(generated.sums, statistic, human.sums)
    return found


def _by_seed(generated: PerText | None, statistic: Statistic) -> dict[int, float]:
    if generated is None:
        return {}
    seeds = sorted({s for s in generated.seeds if s is not None})
    found = {s: float(statistic(generated.of_seed(s))) for s in seeds}
    return {s: value for s, value in found.items() if np.isfinite(value)}


def per_text(texts: Sequence[Continuation], *columns: Sequence[float]) -> PerText:
    """Columns of a set of texts, one value a text."""
    return PerText(
        keys=[c.source for c in texts],
        seeds=[c.seed for c in texts],
        columns=np.array(columns, dtype=np.float64).T.reshape(len(texts), len(columns)),
    )


def apart(ours: Estimate | None, theirs: Estimate | None) -> Estimate | None:
    """The difference of two independent estimates."""
    if ours is None or theirs is None:
        return None
    errors = [e.standard_error for e in (ours, theirs) if e.standard_error is not None]
    return with_error(ours.value - theirs.value, math.hypot(*errors) if len(errors) == 2 else None)


def with_error(value: float, error: float | None) -> Estimate:
    """An estimate with a normal interval."""
    if error is None:
        return Estimate(value=value, low=None, high=None, standard_error=None, reason="too short a text")
    return Estimate(value=value, low=value - 1.96 * error, high=value + 1.96 * error, standard_error=error)
