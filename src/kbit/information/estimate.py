"""A figure with its interval, and the resampling that gives it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.errors import CorpusError, UsageError

RESAMPLES = 2000
LEVEL = 0.95
DRAWS_AT_ONCE = 1 << 22
TOO_FEW = "one document: nothing to resample, so how far another text would differ is unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A ratio of sums over documents, with a 95% interval where there are documents to resample."""

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    reason: str | None = None
    """Why there is no interval."""

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Low and high, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def paired_bootstrap(
    numerators: Sequence[float] | NDArray[np.float64],
    denominators: Sequence[float] | NDArray[np.float64],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Ratio of sums R = sum d / sum B over documents, with a percentile interval by resampling documents.

    A document brings its numerator and its denominator together into each resample, so where d is itself a
    difference of two coders on one document, the interval is a paired one. The standard error is the
    analytic one of a ratio of means, sqrt(n/(n-1) sum (d_i - R B_i)^2) / sum B, not that of the resamples.

    Args:
        numerators: d of each document, finite.
        denominators: B of each document, not negative.
        seed: of the resampling: the same seed and documents give the same interval.
        resamples: how many; about 2000 settle the ends of a 95% interval to a few hundredths of its width.

    Returns:
        The estimate. Documents without a denominator (empty ones) are left out of the resampling. Fewer than
        two documents give no interval, and a reason; never one of zero width.

    Raises:
        CorpusError: the denominators sum to zero.
        UsageError: the two do not match, or resamples is not positive.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 13; Cochran, "Sampling
    Techniques" (1977), eq. 6.13, for the standard error of a ratio.
    """
    d = np.asarray(numerators, dtype=np.float64)
    b = np.asarray(denominators, dtype=np.float64)
    if d.shape != b.shape or d.ndim != 1:
        raise UsageError(f"numerators {d.shape} and denominators {b.shape} must be two lists of one length")
    if resamples < 1:
        raise UsageError(f"{resamples} resamples are asked for; give at least 1 (2000 is usual).")
    total = b.sum()
    if not total > 0:
        raise CorpusError(
            "the text is empty, so nothing can be said per byte of it. Give text that is not empty."
        )
    value = math.fsum(d) / total
    kept = b > 0
    d, b = d[kept], b[kept]
    n = len(d)
    if n < 2:
        return Estimate(value=value, low=None, high=None, standard_error=None, reason=TOO_FEW)
    error = math.sqrt(n / (n - 1) * float(np.sum((d - value * b) ** 2))) / total
    low, high = np.quantile(_resample(d, b, seed, resamples), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=float(value), low=float(low), high=float(high), standard_error=float(error))


def _resample(
    d: NDArray[np.float64], b: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    step = max(1, DRAWS_AT_ONCE // len(d))
    for start in range(0, resamples, step):
        drawn = rng.integers(0, len(d), size=(min(step, resamples - start), len(d)))
        ratios[start : start + step] = d[drawn].sum(axis=1) / b[drawn].sum(axis=1)
    return ratios
