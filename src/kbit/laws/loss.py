"""What a fit minimises: a sum over rows of a robust or square loss of the residual."""

from dataclasses import dataclass

import numpy as np

from kbit.errors import LawError, did_you_mean
from kbit.laws.dual import Array

OBJECTIVES = {
    "huber-log": "sum of Huber losses of log(prediction) - log(measured)",
    "squares-log": "sum of squares of log(prediction) - log(measured)",
    "huber": "sum of Huber losses of prediction - measured",
    "squares": "sum of squares of prediction - measured",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A loss of residuals, rho(r): r² for squares, or Huber's.

    Huber's is r²/2 inside `delta`, and delta·(|r| - delta/2) outside.

    Attributes:
        name: a key of `OBJECTIVES`.
        delta: where Huber's loss turns linear, in the unit of the residual (1e-3 as in Hoffmann et al. 2022).
    """

    name: str
    delta: float = 1e-3

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise LawError(f"there is no objective {self.name!r}: {did_you_mean(self.name, OBJECTIVES)}")
        if not self.delta > 0:
            raise LawError(f"delta must be positive, got {self.delta}.")

    @property
    def is_log(self) -> bool:
        """Whether residuals are differences of logarithms."""
        return self.name.endswith("-log")

    @property
    def is_robust(self) -> bool:
        """Whether it is Huber's."""
        return self.name.startswith("huber")

    def rho(self, r: Array) -> Array:
        """The loss of each residual."""
        if not self.is_robust:
            return r * r
        inside = np.minimum(np.abs(r), self.delta)
        return inside * (np.abs(r) - 0.5 * inside)

    def psi(self, r: Array) -> Array:
        """Its derivative."""
        return np.clip(r, -self.delta, self.delta) if self.is_robust else 2.0 * r

    def bend(self, r: Array) -> Array:
        """Its second derivative."""
        if self.is_robust:
            return (np.abs(r) <= self.delta).astype(np.float64)
        return np.full_like(r, 2.0)

    def majoriser(self, r: Array) -> Array:
        """psi(r)/r: the curvature of the parabola that touches rho at r and lies above it everywhere."""
        if not self.is_robust:
            return np.full_like(r, 2.0)
        return self.delta / np.maximum(np.abs(r), self.delta)
