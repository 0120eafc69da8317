"""Experts of a mixture: one tensor for all of them in Transformers, three linear layers each here.

A module that keeps its experts in one tensor (`gate_up_proj` [experts, 2 inner, width] and `down_proj`
[experts, width, inner]) has nothing a packed layer could take the place of. So the module itself is taken
apart: `<experts>.<number>.gate_proj`, `.up_proj` and `.down_proj`, each an ordinary linear layer, and a loop
over the experts that tokens were sent to.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
# In the fused tensors: which of the two, and which half of its rows.
FUSED = {"gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1), "down_proj": ("down_proj", None)}

Make = Callable[[int, str], nn.Module]


class Expert(nn.Module):
    """`down(act(gate(x)) * up(x))`."""

    def __init__(self, projections: Sequence[nn.Module], act: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = projections
        self.act_fn = act

    def forward(self, x: Tensor) -> Tensor:
        """One expert's output for the tokens sent to it, [tokens, width]."""
        y: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return y


class Experts(nn.ModuleList):
    """In the place of a module of fused experts.

    Args of the constructor:
        fused: the module.
        make: number of an expert and projection, to its linear layer.
    """

    def __init__(self, fused: Any, make: Make) -> None:
        count = fused.gate_up_proj.shape[0]
        super().__init__(Expert([make(e, p) for p in PROJECTIONS], fused.act_fn) for e in range(count))
        self.fused_type, self.config = type(fused), fused.config
        self.train(fused.training)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Sum over each token's experts, each times its weight.

        Args:
            hidden_states: [tokens, width].
            top_k_index: int64 [tokens, k]: the experts of a token; a number beyond the last is none.
            top_k_weights: [tokens, k].
        """
        out = torch.zeros_like(hidden_states)
        for number in torch.unique(top_k_index).tolist():
            if number >= len(self):
                continue
            token, place = torch.where(top_k_index == number)
            y = self[number](hidden_states[token]) * top_k_weights[token, place, None]
            out.index_add_(0, token, y.to(out.dtype))
        return out


def is_fused(module: nn.Module) -> bool:
    """Whether a module keeps its experts in two tensors, and computes what `Experts` does."""
    from transformers.integrations.moe import _default_apply_gate

    return (
        {name for name, _ in module.named_parameters()} == {"gate_up_proj", "down_proj"}
        and all(parameter.ndim == 3 for parameter in module.parameters())
        and getattr(module, "has_gate", False) is True
        and getattr(module, "is_concatenated", False) is True
        and not getattr(module, "is_transposed", True)
        and not getattr(module, "has_bias", True)
        and not getattr(module, "has_post_expert_norm", True)
        and getattr(type(module), "_apply_gate", None) is _default_apply_gate
        and hasattr(module, "act_fn")
    )


def projection_shape(fused: Any, projection: str) -> tuple[int, int]:
    """[outputs, inputs] of one expert's projection."""
    parameter, half = FUSED[projection]
    _, rows, columns = getattr(fused, parameter).shape
    return (rows if half is None else rows // 2), columns


def split_expert(name: str) -> tuple[str, int, str] | None:
    """Name of the fused module, number and projection of `<module>.<number>.<projection>`; None for others.

    >>> split_expert("model.layers.0.mlp.experts.3.up_proj")
    ('model.layers.0.mlp.experts', 3, 'up_proj')
    """
    rest, _, projection = name.rpartition(".")
    module, _, number = rest.rpartition(".")
    if projection not in PROJECTIONS or not number.isdecimal():
        return None
    return module, int(number), projection


def unfuse(model: nn.Module) -> None:
    """Take all fused experts in a dense module apart; the weights are views, so nothing is copied."""
    for name, module in list(model.named_modules()):
        if name and is_fused(module):
            parent, _, child = name.rpartition(".")
            unfuse_one(model.get_submodule(parent), child)


def unfuse_one(parent: nn.Module, child: str) -> None:
    """The same for one module of a parent."""
    module = getattr(parent, child)
    setattr(parent, child, Experts(module, _views(module)))


def _views(fused: Any) -> Make:
    def make(number: int, projection: str) -> nn.Module:
        parameter, half = FUSED[projection]
        weight = getattr(fused, parameter).detach()[number]
        if half is not None:
            weight = weight.chunk(2)[half]
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        return linear

    return make


def fuse(experts: Experts, weight: Callable[[nn.Module], Tensor]) -> nn.Module:
    """The fused module again.

    Args:
        experts: taken apart.
        weight: a linear layer's dense weight.
    """
    with torch.device("meta"):
        fused: Any = experts.fused_type(experts.config)
    rows = {p: [weight(getattr(e, p)) for e in experts] for p in PROJECTIONS}
    gate_up = [torch.cat(pair) for pair in zip(rows["gate_proj"], rows["up_proj"], strict=True)]
    fused.gate_up_proj = nn.Parameter(torch.stack(gate_up))
    fused.down_proj = nn.Parameter(torch.stack(rows["down_proj"]))
    return fused.train(experts.training)  # type: ignore[no-any-return]
