"""Second moments of what reaches each linear layer of a block."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kbit.quantize.calibration.blocks import Blocks, Reached
from kbit.quantize.calibration.hidden import Batch, HiddenFile, each
from kbit.quantize.codes.choose import Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Layers of a block that are given the same input, such as query, key and value.

    Attributes:
        names: within the block, in the order they are called.
        last: no later group is called, or the order is not known: a pass for it runs to the end.
    """

    names: tuple[str, ...]
    last: bool


def input_groups(
    blocks: Blocks, index: int, block: nn.Module, names: Sequence[str], batch: Batch, hidden: Tensor
) -> list[Group]:
    """Layers in the order a block calls them, those with one input together, seen on one batch.

    Layers that this batch does not reach (experts no token was sent to) come last, each by itself.
    """
    calls: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, args: calls.append((name, args[0]))

    with _hooks({block.get_submodule(name): note(name) for name in names}):
        blocks.run(index, block, batch.ids, hidden)
    groups: list[tuple[list[str], Tensor]] = []
    seen: set[str] = set()
    for name, given in calls:
        if name in seen:
            continue
        seen.add(name)
        # The inputs are all held here, so one address is one tensor.
        same = groups and groups[-1][1].data_ptr() == given.data_ptr() and groups[-1][1].shape == given.shape
        if same:
            groups[-1][0].append(name)
        else:
            groups.append(([name], given))
    found = [Group(names=tuple(members), last=False) for members, _ in groups]
    return found + [Group(names=(name,), last=True) for name in names if name not in seen]


def gather(
    blocks: Blocks,
    index: int,
    group: Group,
    changed: nn.Module,
    original: nn.Module | None,
    made: Sequence[Batch],
    files: tuple[HiddenFile, HiddenFile | None],
) -> Moments | None:
    """Second moments of a group's input.

    Args:
        blocks: the model.
        index: which block.
        group: of its layers.
        changed: the block with what is quantised so far.
        original: the block as it was, to follow; or None.
        made: all batches.
        files: hidden states that enter the block, in the model so far and in the original one.

    Returns:
        The moments; None where no token reached the group.
    """
    module = group.names[0]
    width = _inputs(changed.get_submodule(module))
    hessian = torch.zeros(width, width, dtype=torch.float64)
    cross = None if original is None else torch.zeros_like(hessian)
    tokens = 0
    streams = tuple(file for file in files if file is not None)
    for batch, hidden in each(made, *streams):
        now = _input(blocks, index, changed, module, batch, hidden[0], stop=not group.last)
        if now is None:
            continue
        tokens += len(now)
        hessian += (now.T @ now).double()
        if original is not None and cross is not None:
            before = _input(blocks, index, original, module, batch, hidden[1], stop=not group.last)
            # Routed otherwise than in the original, tokens do not pair: then there is nothing to follow.
            cross = (
                cross + (before.T @ now).double() if before is not None and len(before) == len(now) else None
            )
            original = original if cross is not None else None
    if not tokens:
        return None
    return Moments(hessian=hessian, cross=cross, tokens=tokens)


def _input(
    blocks: Blocks, index: int, block: nn.Module, name: str, batch: Batch, hidden: Tensor, *, stop: bool
) -> Tensor | None:
    """What reaches a layer, float32 [tokens, inputs]."""
    found: list[Tensor] = []

    def take(_module: nn.Module, args: Any) -> None:
        found.append(args[0].reshape(-1, args[0].shape[-1]).float())
        if stop:
            raise Reached

    with _hooks({block.get_submodule(name): take}):
        blocks.run(index, block, batch.ids, hidden)
    return torch.cat(found) if found else None


def _inputs(layer: nn.Module) -> int:
    from transformers.pytorch_utils import Conv1D

    weight: Any = layer.weight
    return int(weight.shape[0] if isinstance(layer, Conv1D) else weight.shape[1])


@contextmanager
def _hooks(wanted: dict[nn.Module, Callable[[nn.Module, Any], None]]) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(hook) for module, hook in wanted.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
