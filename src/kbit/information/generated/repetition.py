"""How much a text repeats itself."""

from collections.abc import Sequence

import numpy as np

from kbit.information.resample import Floats, Sums, grouped

SIZES = (2, 3, 4)


def distinct_grams(units: Sequence[str], size: int) -> tuple[int, int]:
    """How many different n-grams a text has, and how many it has in all.

    >>> distinct_grams("a rose is a rose".split(), 2)
    (3, 4)
    """
    grams = [tuple(units[i : i + size]) for i in range(len(units) - size + 1)]
    return len(set(grams)), len(grams)


def repetition_sums(keys: Sequence[str], texts: Sequence[Sequence[str]]) -> Sums:
    """Different and all n-grams of each text, for n = 2, 3, 4: columns in pairs."""
    counted = np.array([[c for n in SIZES for c in distinct_grams(units, n)] for units in texts])
    return grouped(keys, *counted.reshape(len(texts), 2 * len(SIZES)).T.tolist())


def repetition(size: int) -> "Repetition":
    """Statistic rep-n = 100 (1 - different / all), in percent; n-grams repeated within a text.

    Source: Welleck et al., "Neural text generation with unlikelihood training", ICLR 2020; Su et al., "A
    contrastive framework for neural text generation", NeurIPS 2022, sec. 4.
    """
    return Repetition(SIZES.index(size))


class Repetition:
    """The statistic of one n on the sums of `repetition_sums`."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __call__(self, sums: Floats) -> Floats:
        """Percent."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Floats = 100 * (1 - sums[..., 2 * self._place] / sums[..., 2 * self._place + 1])
        return result


def diversity(sums: Floats) -> Floats:
    """Product over n = 2, 3, 4 of 1 - rep-n / 100 (Su et al. 2022).

    >>> [round(diversity_of(reps), 3) for reps in ([3.92, 0.88, 0.28], [69.21, 65.18, 62.05])]
    [0.95, 0.041]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = np.prod(sums[..., 0::2] / sums[..., 1::2], axis=-1)
    return result


def diversity_of(repetitions: Sequence[float]) -> float:
    """Diversity from rep-2, rep-3 and rep-4 in percent."""
    return float(np.prod([1 - r / 100 for r in repetitions]))
