"""Second moments of a layer's inputs: what an error in a weight costs.

With inputs X [tokens, cols], the squared error of a layer's output is trace(E H E^T) for H = X^T X and
E the error of its weight. All that is calibrated in kbit is a search for a small one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Share of the mean of the diagonal added to it, as in GPTQ (Frantar et al. 2023, section 3.3).
FIRST_DAMPING = 0.01
GREATEST_DAMPING = 1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Damped:
    """A Hessian that is positive definite.

    Attributes:
        matrix: float32 [cols, cols], symmetric; inputs that were always zero have a diagonal of one mean.
        damping: share of the mean diagonal that was added.
        raised: whether more was needed than asked for.
        dead: bool [cols]: inputs that were zero for every token.
    """

    matrix: Tensor
    damping: float
    raised: bool
    dead: Tensor

    def inverse_factor(self) -> Tensor:
        """Upper triangular U with U^T U = H^-1, float32 [cols, cols]."""
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.matrix.double()))
        factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
        return factor.float()


def damped(hessian: Tensor, damping: float = FIRST_DAMPING) -> Damped:
    """Add to the diagonal until the matrix can be factored, tenfold at each step.

    Args:
        hessian: [cols, cols], sums of products of inputs.
        damping: the first share of the mean diagonal to add.

    Raises:
        ValueError: it holds NaN or infinity, so no damping helps.
    """
    if not bool(torch.isfinite(hessian).all()):
        raise ValueError("the inputs of this layer gave NaN or infinite second moments")
    matrix = hessian.double()
    matrix = (matrix + matrix.T) / 2
    diagonal = matrix.diagonal()
    dead = diagonal <= 0
    alive = diagonal[~dead]
    mean = float(alive.mean()) if alive.numel() else 1.0
    matrix = matrix.clone()
    # An input that is always zero costs nothing whatever its weight; it must not make H singular.
    matrix[dead, :] = 0
    matrix[:, dead] = 0
    matrix[dead, dead] = mean
    for share in _steps(damping):
        tried = matrix.clone()
        tried.diagonal().add_(share * mean)
        factor, info = torch.linalg.cholesky_ex(tried)
        # A factor may exist and still be useless for the inverse; its diagonal tells.
        if int(info) == 0 and float(factor.diagonal().min()) > 1e-7 * mean**0.5:
            return Damped(matrix=tried.float(), damping=share, raised=share > damping, dead=dead)
    raise ValueError(f"not positive definite even with {GREATEST_DAMPING:g} of its mean diagonal added")


def _steps(first: float) -> Iterator[float]:
    if first == 0:
        yield 0.0
        first = 1e-6
    share = first
    while share <= GREATEST_DAMPING:
        yield share
        share *= 10


def quadratic_error(error: Tensor, hessian: Tensor) -> float:
    """trace(E H E^T), the squared error of the outputs summed over tokens.

    Args:
        error: [rows, cols].
        hessian: [cols, cols].
    """
    return float(((error @ hessian) * error).sum(dtype=torch.float64))
