"""Cross-entropy over the vocabulary without ever holding the logits of a whole batch.

Logits are most of a small model's memory traffic. Here they are made, used and dropped in slices, and their
gradient is taken in the same visit, so a slice stays in the cache (as in Hsu et al. 2024, Liger Kernel).
"""

import math
from typing import Any

import torch
from torch import Tensor

LN2 = math.log(2.0)
_SLICE = 512


class _SlicedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy in nats of `hidden @ head.T` against `targets`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        """Loss and both gradients in one visit: hidden [n, d], head [v, d], targets [n]."""
        count = hidden.shape[0]
        table = head.detach().to(dtype)
        hidden_gradient = torch.empty_like(hidden)
        head_gradient = torch.zeros_like(head)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for start in range(0, count, _SLICE):
            part = hidden[start : start + _SLICE].detach().to(dtype)
            wanted = targets[start : start + _SLICE, None]
            logs = torch.log_softmax((part @ table.T).float(), dim=-1)
            total -= logs.gather(1, wanted).sum(dtype=torch.float64)
            slope = logs.exp_()
            slope.scatter_add_(1, wanted, torch.full(wanted.shape, -1.0, device=hidden.device))
            slope = slope.mul_(1.0 / count).to(dtype)
            hidden_gradient[start : start + _SLICE] = slope @ table
            head_gradient += (slope.T @ part).float()
        ctx.save_for_backward(hidden_gradient, head_gradient)
        return (total / count).float()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Scale what `forward` found."""
        hidden_gradient, head_gradient = ctx.saved_tensors
        return hidden_gradient * slopes[0], head_gradient * slopes[0], None, None


def sliced_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Mean cross-entropy in nats of a linear head, with gradients for hidden states and head.

    Args:
        hidden: hidden states, [tokens, width].
        head: weight of the head, [vocabulary, width], float32.
        targets: the tokens that follow, [tokens].
        dtype: of the matrix products; sums, softmax and loss are float32 or wider.
    """
    loss: Tensor = _SlicedCrossEntropy.apply(hidden, head, targets, dtype)  # type: ignore[no-untyped-call]
    return loss
