"""The decoder layers of a Transformers model, run one at a time on hidden states from outside.

The model's own forward is always what runs, so that masks, positions and all else a layer is given are
right for every architecture: layers before the one wanted pass on what they get, and the one wanted gets
the stored hidden states and ends the pass.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kbit.errors import ModelError
from kbit.models.experts import unfuse


class Reached(Exception):  # noqa: N818 (no error: it ends a pass that has what it wanted)
    """Ends a forward pass early."""


class _StandIn(nn.Module):
    """In place of a decoder layer; attributes that a model's loop reads are the layer's own."""

    def __init__(self, layer: nn.Module, run: Callable[[nn.Module, Tensor, Any, Any], Any]) -> None:
        super().__init__()
        # Not as a submodule: a model's parameters stay where they are.
        self.__dict__["_layer"], self.__dict__["_run"] = layer, run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_layer"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            return self._run(self._layer, args[0], args[1:], kwargs)
        return self._run(self._layer, kwargs.pop("hidden_states"), (), kwargs)


class Blocks:
    """A model seen as embedding, decoder layers, and what follows them."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.body = model.base_model
        self.name, self.layers = find_layers(model)
        self._originals = list(self.layers)
        self._tuples = _returns_tuples(self)

    def __len__(self) -> int:
        return len(self._originals)

    def copy_of(self, index: int) -> nn.Module:
        """The layer in float32, in memory of its own, fused experts taken apart."""
        layer = copy.deepcopy(self._originals[index]).float().eval()
        unfuse(layer)
        return layer

    def embed(self, ids: Tensor) -> Tensor:
        """Hidden states that enter the first layer, float32 [windows, length, width]."""
        found: list[Tensor] = []

        def catch(_layer: nn.Module, hidden: Tensor, _args: Any, _kwargs: Any) -> Any:
            found.append(hidden)
            raise Reached

        self._pass(ids, {0: catch})
        return found[0].float()

    def run(self, index: int, layer: nn.Module, ids: Tensor, hidden: Tensor) -> Tensor:
        """Hidden states after a layer.

        Args:
            index: which layer.
            layer: it, or a copy of it with other weights.
            ids: int64 [windows, length]: the tokens, from which the model makes masks and positions.
            hidden: float32 [windows, length, width] that enter it.

        Raises:
            Reached: a hook inside the layer had what it wanted; the caller catches it.
        """
        found: list[Tensor] = []

        def here(_layer: nn.Module, _hidden: Tensor, args: Any, kwargs: Any) -> Any:
            out = layer(hidden, *args, **kwargs)
            found.append(out[0] if isinstance(out, tuple) else out)
            raise Reached

        self._pass(ids, {index: here})
        return found[0] if found else hidden

    def finish(self, ids: Tensor, hidden: Tensor) -> Tensor:
        """What the output layer is given, from hidden states after the last layer."""

        def here(_layer: nn.Module, _hidden: Tensor, _args: Any, _kwargs: Any) -> Any:
            return self._as_returned(len(self) - 1, hidden)

        done = self._pass(ids, {len(self) - 1: here})
        last: Tensor = done[0] if isinstance(done, tuple) else done.last_hidden_state
        return last.float()

    def _as_returned(self, index: int, hidden: Tensor) -> Any:
        length = self._tuples[index]
        return hidden if length is None else (hidden, *([None] * (length - 1)))

    def _pass(self, ids: Tensor, here: dict[int, Callable[[nn.Module, Tensor, Any, Any], Any]]) -> Any:
        def skip(index: int) -> Callable[[nn.Module, Tensor, Any, Any], Any]:
            return lambda _layer, hidden, _args, _kwargs: self._as_returned(index, hidden)

        runs = [here.get(index, skip(index)) for index in range(len(self))]
        with _replaced(self.layers, [_StandIn(*pair) for pair in zip(self._originals, runs, strict=True)]):
            try:
                with torch.inference_mode():
                    return self.body(ids, use_cache=False)
            except Reached:
                return None


@contextmanager
def _replaced(layers: nn.ModuleList, new: list[nn.Module]) -> Iterator[None]:
    old = list(layers)
    for index, layer in enumerate(new):
        layers[index] = layer
    try:
        yield
    finally:
        for index, layer in enumerate(old):
            layers[index] = layer


def find_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """The list of decoder layers, by the number the config gives, and its name in the model.

    Raises:
        ModelError: there is no such list.
    """
    config = model.config.get_text_config(decoder=True)
    count = getattr(config, "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count and count
    ]
    # Experts may be as many as layers, but lie inside one.
    lists.sort(key=lambda pair: pair[0].count("."))
    if not lists:
        raise ModelError(
            f"{type(model).__name__}: has no list of its {count} decoder layers, which calibration goes "
            "through one by one. Choose codes without calibration (--method nearest)."
        )
    return lists[0]


def _returns_tuples(blocks: Blocks) -> list[int | None]:
    """For each layer how many things it returns, None for one tensor: seen on two tokens."""
    found: dict[int, int | None] = {}

    def look(index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            found[index] = len(out) if isinstance(out, tuple) else None

        return hook

    handles = [layer.register_forward_hook(look(i)) for i, layer in enumerate(blocks.layers)]
    try:
        with torch.inference_mode():
            blocks.body(torch.zeros(1, 2, dtype=torch.int64), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if len(found) < len(blocks.layers):
        raise ModelError(
            f"{type(blocks.model).__name__}: does not call all of {blocks.name} in turn, so calibration "
            "cannot go through them. Choose codes without calibration (--method nearest)."
        )
    return [found[index] for index in range(len(blocks.layers))]


def compute_in_float32(model: Any, layers: nn.ModuleList) -> None:
    """Let all but the decoder layers and the token embedding's table be float32; that table's rows become so.

    The layers stay as they are stored (mapped from the file, in 16 bits) until a copy of one is made.
    """
    inside = {id(module) for module in layers.modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    for module in model.modules():
        if id(module) in inside or module is embedding or module is head:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_floating_point():
                setattr(module, name, nn.Parameter(parameter.detach().float(), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                module._buffers[name] = buffer.float()
    embedding.register_forward_hook(lambda _module, _args, out: out.float())
