"""Entropy of a distribution from counts of what was drawn from it.

The plain figure is too low, by about (K - 1) / 2N nats, because what was not seen counts for nothing. Each
estimator here corrects that in its own way; none is right when a good part of the distribution was not seen,
which `entropy` says.

In the formulas n_i are counts, N their sum, K the number of things that can be drawn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln, polygamma

from kbit.errors import UsageError, did_you_mean

Floats = NDArray[np.float64]
LN2 = math.log(2)
# Asked of a sample: draws for each thing seen, and the share of draws not seen only once (Good 1953).
FEWEST_DRAWS_EACH = 5
FEWEST_COVERED = 0.9
# Concentrations over which NSB integrates: beyond them a Dirichlet is all corners, or uniform.
LOG_BETA = (-30.0, 30.0)
POINTS = 4001


@dataclass(frozen=True, kw_only=True, slots=True)
class Entropy:
    """An entropy in bits, how sure it is, and what to mind."""

    bits: float
    standard_error: float
    low: float
    high: float
    estimator: str
    warning: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EntropyEstimator:
    """One row of the table: counts (all positive) and K, or None, to nats."""

    name: str
    needs_support: bool
    source: str
    nats: Callable[[Floats, int | None], float]


def entropy(counts: ArrayLike, estimator: str = "grassberger", *, support: int | None = None) -> Entropy:
    """Entropy in bits of what these counts were drawn from.

    Args:
        counts: how often each thing was drawn; zeros may be left out.
        estimator: `plug-in`, `miller-madow`, `grassberger`, `chao-shen`, `james-stein`, `nsb`.
        support: K, for those that need it; nsb is right only if it is the true one. Zeros among the counts do
            not set it.

    Returns:
        The entropy, not below zero (a correction may overshoot), with a 95% interval that speaks of the draw
        (its variance, to first order), not of the bias: for that there is a warning where the sample is too
        small.

    Raises:
        UsageError: no such estimator, no draws, negative counts, or a support that is missing or too small.
    """
    row = ESTIMATORS.get(estimator)
    if row is None:
        raise UsageError(f"no entropy estimator {estimator!r}: {did_you_mean(estimator, ESTIMATORS)}")
    n = np.asarray(counts, dtype=np.float64).ravel()
    if not np.isfinite(n).all() or (n < 0).any() or (n != np.floor(n)).any():
        raise UsageError("counts must be whole numbers, none negative.")
    n = n[n > 0]
    if not len(n):
        raise UsageError(
            "nothing was drawn, so there is no entropy to estimate. Give counts that are not all 0."
        )
    if row.needs_support and support is None:
        raise UsageError(f"{estimator} needs the number of things that can be drawn: give support=….")
    if support is not None and support < len(n):
        raise UsageError(f"the support is {support}, but {len(n)} different things were drawn.")
    nats = row.nats(n, support)
    p = n / n.sum()
    variance = max(0.0, float(p @ np.log(p) ** 2 - (p @ np.log(p)) ** 2)) / n.sum()
    if row is ESTIMATORS["nsb"] and support is not None:
        variance = nsb_moments(n, support)[1]
    bits, error = max(0.0, nats / LN2), math.sqrt(variance) / LN2
    return Entropy(
        bits=bits,
        standard_error=error,
        low=max(0.0, bits - 1.96 * error),
        high=bits + 1.96 * error,
        estimator=estimator,
        warning=_warning(n),
    )


def _warning(n: Floats) -> str | None:
    draws, once = n.sum(), float((n == 1).sum())
    if 1 - once / draws < FEWEST_COVERED:
        return (
            f"{once:.0f} of {draws:.0f} draws were the only one of their kind, so about {once / draws:.0%} "
            "of the distribution was not seen: the estimate rests on the estimator's assumptions. Draw more."
        )
    if draws < FEWEST_DRAWS_EACH * len(n):
        return f"{draws:.0f} draws of {len(n)} different things are few: expect some bias. Draw more."
    return None


def plug_in(n: Floats, support: int | None = None) -> float:
    """Ln N - sum n ln n / N: the entropy of the frequencies themselves."""
    return float(math.log(n.sum()) - (n @ np.log(n)) / n.sum())


def miller_madow(n: Floats, support: int | None = None) -> float:
    """Plug-in and (K_seen - 1) / 2N."""
    return plug_in(n) + float((len(n) - 1) / (2 * n.sum()))


def grassberger(n: Floats, support: int | None = None) -> float:
    """Ln N - sum n G(n) / N, G(n) = psi(n) + (-1)^n (psi((n+1)/2) - psi(n/2)) / 2."""
    sign = 1 - 2 * (n % 2)
    g = digamma(n) + sign * (digamma((n + 1) / 2) - digamma(n / 2)) / 2
    return float(math.log(n.sum()) - (n @ g) / n.sum())


def chao_shen(n: Floats, support: int | None = None) -> float:
    """-sum C p ln(C p) / (1 - (1 - C p)^N), with coverage C = 1 - f1/N, f1 the things drawn once.

    If all were drawn once, C would be zero; one of them is then taken as drawn twice.
    """
    total = n.sum()
    once = min(float((n == 1).sum()), total - 1)
    p = (1 - once / total) * n / total
    return float(-np.sum(p * np.log(p) / -np.expm1(total * np.log1p(-np.minimum(p, 1 - 1e-16)))))


def james_stein(n: Floats, support: int | None = None) -> float:
    """Plug-in entropy of frequencies shrunk towards 1/K by the share that loses least squared error."""
    k = _known(support)
    total = n.sum()
    p = np.concatenate((n / total, np.zeros(k - len(n))))
    share = james_stein_share(n, k)
    shrunk = share / k + (1 - share) * p
    shrunk = shrunk[shrunk > 0]
    return float(-(shrunk @ np.log(shrunk)))


def james_stein_share(n: Floats, support: int) -> float:
    """(1 - sum p^2) / ((N - 1) sum (1/K - p)^2), cut to [0, 1]."""
    total = n.sum()
    p = n / total
    squares = float(np.sum((1 / support - p) ** 2) + (support - len(n)) / support**2)
    if total <= 1 or squares == 0:
        return 1.0
    return float(min(1.0, max(0.0, (1 - p @ p) / ((total - 1) * squares))))


def nsb(n: Floats, support: int | None = None) -> float:
    """Posterior mean under Dirichlets mixed so that the entropy's prior is nearly flat."""
    return nsb_moments(n, _known(support))[0]


def nsb_moments(n: Floats, support: int) -> tuple[float, float]:
    """Posterior mean (nats) and variance of the entropy.

    The mean entropy of a Dirichlet with concentration b is xi(b) = psi(Kb + 1) - psi(b + 1), from 0 to ln K.
    The prior is uniform in xi, the weight of b its evidence; integrated over ln b by the trapezium rule,
    where the integrand falls off at both ends, so that the rule converges fast.
    """
    if support == 1:
        return 0.0, 0.0
    values, times = np.unique(n, return_counts=True)
    unseen = support - len(n)
    values = np.append(values, 0.0)
    multiplicity: Floats = np.append(times, unseen).astype(np.float64)
    low, high = LOG_BETA
    for _ in range(2):
        log_beta = np.linspace(low, high, POINTS)
        log_weight = _log_evidence(np.exp(log_beta), values, multiplicity, support)
        near = np.flatnonzero(log_weight > log_weight.max() - 60)
        low, high = log_beta[max(0, near[0] - 1)], log_beta[min(POINTS - 1, near[-1] + 1)]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    first, second = _dirichlet_moments(np.exp(log_beta), values, multiplicity, support)
    mean = float(weight @ first)
    return mean, max(0.0, float(weight @ second) - mean**2)


def _log_evidence(beta: Floats, values: Floats, times: Floats, support: int) -> Floats:
    """Ln of evidence times prior, in ln beta, [points]."""
    slope = support * polygamma(1, support * beta + 1) - polygamma(1, beta + 1)
    seen = values > 0
    terms = gammaln(values[seen] + beta[:, None]) - gammaln(beta[:, None])
    evidence = gammaln(support * beta) - gammaln(times @ values + support * beta) + terms @ times[seen]
    # Far out the slope is lost in rounding; there is no weight there either.
    result: Floats = evidence + np.log(np.maximum(slope, 1e-300)) + np.log(beta)
    return result


def _dirichlet_moments(beta: Floats, values: Floats, times: Floats, support: int) -> tuple[Floats, Floats]:
    """E[H] and E[H^2], in nats, under Dirichlet(n + beta) (Wolpert & Wolf 1995), [points]."""
    a = values + beta[:, None]
    total = times @ values + support * beta
    mean = digamma(total + 1) - (a * digamma(a + 1)) @ times / total
    shifted = digamma(a + 1) - digamma(total + 2)[:, None]
    common = polygamma(1, total + 2)
    cross = ((a * shifted) @ times) ** 2 - (a * shifted) ** 2 @ times - common * (total**2 - a**2 @ times)
    own = (digamma(a + 2) - digamma(total + 2)[:, None]) ** 2 + polygamma(1, a + 2) - common[:, None]
    return mean, (cross + (a * (a + 1) * own) @ times) / (total * (total + 1))


def _known(support: int | None) -> int:
    if support is None:
        raise UsageError("this estimator needs the number of things that can be drawn: give support=….")
    return support


ESTIMATORS: dict[str, EntropyEstimator] = {
    row.name: row
    for row in (
        EntropyEstimator(name="plug-in", needs_support=False, source="Shannon 1948", nats=plug_in),
        EntropyEstimator(name="miller-madow", needs_support=False, source="Miller 1955", nats=miller_madow),
        EntropyEstimator(
            name="grassberger",
            needs_support=False,
            source="Grassberger, arXiv:physics/0307138 (2003), eq. 35",
            nats=grassberger,
        ),
        EntropyEstimator(name="chao-shen", needs_support=False, source="Chao & Shen 2003", nats=chao_shen),
        EntropyEstimator(
            name="james-stein", needs_support=True, source="Hausser & Strimmer 2009", nats=james_stein
        ),
        EntropyEstimator(name="nsb", needs_support=True, source="Nemenman, Shafee & Bialek 2002", nats=nsb),
    )
}
