"""Monotone interpolation: the yardstick every parametric law has to beat."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from kbit.laws.dual import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Knots:
    """A monotone curve through points: logarithms of the size and heights, sizes increasing."""

    log_size: Array
    height: Array

    def values(self, size: Array) -> Array:
        """Heights at the given sizes; flat outside the points."""
        at = np.clip(np.log(size), self.log_size[0], self.log_size[-1])
        if self.log_size.size == 1:
            return np.full_like(at, self.height[0])
        return np.asarray(PchipInterpolator(self.log_size, self.height)(at), dtype=np.float64)


def monotone(size: Array, response: Array, weights: Array, *, rising: bool) -> Knots:
    """Isotonic regression of the response in size (rows of one size pooled), as knots of a monotone cubic."""
    sizes, group = np.unique(size, return_inverse=True)
    total = np.bincount(group, weights=weights)
    mean = np.bincount(group, weights=weights * response) / np.where(total > 0, total, 1.0)
    keep = total > 0
    fitted = isotonic_regression(mean[keep], weights=total[keep], increasing=rising).x
    return Knots(log_size=np.log(sizes[keep]), height=np.asarray(fitted, dtype=np.float64))
