"""pass@k of programs."""

import math
from collections.abc import Sequence

import numpy as np

from kbit.errors import CorpusError
from kbit.information.resample import Floats
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Columns, Metric


def pass_at_k(tried: int, passed: int, k: int) -> float:
    """Probability that one of k programs passes, from n tried of which c passed: 1 - C(n-c, k) / C(n, k).

    Unbiased for k at most n. Source: Chen et al., "Evaluating large language models trained on code" (2021),
    equation 1.

    >>> round(pass_at_k(10, 3, 1), 4), round(pass_at_k(10, 3, 5), 4), pass_at_k(5, 0, 5)
    (0.3, 0.9167, 0.0)
    """
    if not 1 <= k <= tried:
        return math.nan
    return 1 - math.comb(tried - passed, k) / math.comb(tried, k)


def pass_metric(k: int) -> Metric:
    """The row of one k; items tried less than k times count nothing."""
    return Metric(
        name=f"pass_at_{k}",
        what=f"problems solved by one of {k} program{'s' if k > 1 else ''}",
        unit="0 to 1",
        columns=_columns(k),
    )


def _columns(k: int) -> Columns:
    def columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
        values = np.array([pass_at_k(a.tried, a.passed, k) for a in answers])
        known = ~np.isnan(values)
        if not known.any():
            raise CorpusError(f"no problem was tried {k} times: ask for as many samples.")
        return np.column_stack([np.where(known, values, 0.0), known.astype(np.float64)])

    return columns
