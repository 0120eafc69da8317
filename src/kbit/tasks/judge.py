"""What answers are worth: figures with intervals, trivial answers beside, and figures by group."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kbit.errors import CorpusError
from kbit.information.estimate import RESAMPLES, Estimate
from kbit.information.resample import Floats, Sums, contributions, difference, estimate, ratio
from kbit.tasks.baselines import Baseline
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.classes import confusion
from kbit.tasks.metrics.metric import Metric

MOST_GROUPS = 100
NORMAL_95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A metric of some answers.

    Attributes:
        estimate: with its 95% interval over items; None where it is not defined, and `reason` says why.
        parts: of each item (numerator, denominator), so that sum over sum is the figure. Where it is no
            ratio of sums, what each item says of it over one (`kbit.information.resample.contributions`).
    """

    estimate: Estimate | None
    parts: tuple[tuple[float, float], ...] = ()
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """All figures of a task.

    Attributes:
        figures: by metric.
        baselines: by trivial baseline, by metric.
        differences: the model less the baseline on the same items, by baseline, by metric.
        groups: by group, by metric; empty where items have none.
        confusion: rows the right class, columns the one taken; None where there are no classes.
        classes: of the confusion.
    """

    figures: Mapping[str, Figure]
    baselines: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    confusion: list[list[int]] | None = None
    classes: tuple[str, ...] = ()


def judge(
    metrics: Sequence[Metric],
    baselines: Sequence[Baseline],
    items: Sequence[Item],
    answers: Sequence[Answer],
    *,
    language: str,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Judged:
    """Judge answers.

    Args:
        metrics: of the task.
        baselines: trivial answers to stand beside.
        items: of the task.
        answers: theirs, in the same order.
        language: of the answers.
        seed: of the bootstrap over items.
        resamples: how many.
    """
    sums = {metric.name: _sums(metric, items, answers, language) for metric in metrics}
    how = {"seed": seed, "resamples": resamples}
    beside: dict[str, dict[str, Figure]] = {}
    apart: dict[str, dict[str, Estimate]] = {}
    for baseline in baselines:
        theirs = baseline.answers(items)
        beside[baseline.name], apart[baseline.name] = {}, {}
        for metric in metrics:
            other: Sums | str = f"{baseline.name} says nothing of {metric.name}."
            if not baseline.only or metric.name in baseline.only:
                other = _sums(metric, items, theirs, language)
            beside[baseline.name][metric.name] = _figure(metric, other, how)
            ours = sums[metric.name]
            if isinstance(ours, Sums) and isinstance(other, Sums):
                with contextlib.suppress(CorpusError):  # one of the two is not defined, as its figure says
                    apart[baseline.name][metric.name] = difference(
                        ours, other, metric.statistic, seed=seed, resamples=resamples
                    )
    classes = items[0].classes
    return Judged(
        figures={metric.name: _figure(metric, sums[metric.name], how) for metric in metrics},
        baselines=beside,
        differences=apart,
        groups=_groups(metrics, items, answers, language, how),
        confusion=confusion(items, answers) if classes else None,
        classes=classes,
    )


def _sums(metric: Metric, items: Sequence[Item], answers: Sequence[Answer], language: str) -> Sums | str:
    """What is added up, or why it cannot be."""
    try:
        columns = metric.columns(items, answers, language)
    except CorpusError as error:
        return str(error)
    return Sums(keys=tuple(item.name for item in items), columns=columns)


def _figure(metric: Metric, sums: Sums | str, how: Mapping[str, int]) -> Figure:
    if isinstance(sums, str):
        return Figure(estimate=None, reason=sums)
    try:
        found = estimate(sums, metric.statistic, seed=how["seed"], resamples=how["resamples"])
    except CorpusError as error:
        return Figure(estimate=None, reason=str(error))
    if metric.interval == "normal" and found.standard_error is not None:
        half = NORMAL_95 * found.standard_error
        found = replace(found, low=found.value - half, high=found.value + half)
    return Figure(estimate=found, parts=_parts(metric, sums))


def _parts(metric: Metric, sums: Sums) -> tuple[tuple[float, float], ...]:
    columns: Floats = sums.columns
    if metric.statistic is ratio:
        return tuple((float(n), float(d)) for n, d in columns[:, :2])
    said = contributions(sums, metric.statistic)
    return tuple((said[key], 1.0) for key in sums.keys)


def _groups(
    metrics: Sequence[Metric],
    items: Sequence[Item],
    answers: Sequence[Answer],
    language: str,
    how: Mapping[str, int],
) -> dict[str, dict[str, Figure]]:
    names = sorted({item.group for item in items if item.group})
    if not 2 <= len(names) <= MOST_GROUPS:
        return {}
    found: dict[str, dict[str, Figure]] = {}
    for name in names:
        kept = [i for i, item in enumerate(items) if item.group == name]
        mine, theirs = [items[i] for i in kept], [answers[i] for i in kept]
        found[name] = {m.name: _figure(m, _sums(m, mine, theirs, language), how) for m in metrics}
    return found
