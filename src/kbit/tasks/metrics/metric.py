"""A metric: sums over items, and the figure they make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kbit.information.resample import Floats, Statistic, ratio
from kbit.tasks.item import Answer, Item

Columns = Callable[[Sequence[Item], Sequence[Answer], str], Floats]
"""Items, their answers and the language, to what is added up: float64 [items, columns]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One row of the table of metrics.

    Every figure is a function of sums over items, so resampling items gives its interval, and a store can
    keep what each item says of it.

    Attributes:
        name: as results are called.
        what: it is, in a few words.
        unit: `0 to 1`, `0 to 100`, `bits/byte`, ….
        higher_is_better: None where there is a right amount.
        columns: what is added up.
        statistic: the figure from the sums, [..., columns] to [...].
        interval: `percentile` of resampled figures; `normal` around the figure where resampling shifts it.
        signature: what it was computed with, from the items and their language; empty where there is
            nothing to tell.
    """

    name: str
    what: str
    unit: str
    columns: Columns
    statistic: Statistic = ratio
    higher_is_better: bool | None = True
    interval: Literal["percentile", "normal"] = "percentile"
    signature: Callable[[Sequence[Item], str], str] = lambda items, language: ""


def mean_of(value: Callable[[Item, Answer, str], float]) -> Columns:
    """Columns of a plain mean over items: the value, and one."""

    def columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
        values = [value(item, answer, language) for item, answer in zip(items, answers, strict=True)]
        return np.column_stack([np.array(values, dtype=np.float64), np.ones(len(values))])

    return columns
