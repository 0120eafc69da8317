"""Put k-bit modules in the place of dense ones, on the meta device, before weights are loaded."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from kbit.errors import ModelError
from kbit.models.embedding import KbitEmbedding, KbitTiedHead
from kbit.models.experts import is_fused, split_expert, unfuse_one
from kbit.models.linear import KbitLinear
from kbit.models.record import LayerRecord
from kbit.models.stored_weight import StoredWeight


def swap_modules(model: Any, records: Iterable[LayerRecord], *, dtype: torch.dtype | None = None) -> None:
    """Replace the module of each record; a tied output layer follows its embedding.

    Args:
        model: a `PreTrainedModel`, whose weights are not needed.
        records: what the folder stores.
        dtype: of biases and of embedded rows; the model's own where None.

    Raises:
        ModelError: a record that does not fit the architecture; the model is then half swapped.
    """
    records = list(records)
    _take_apart(model, records)
    modules = dict(model.named_modules())
    base_prefix = f"{model.base_model_prefix}."
    swapped: dict[str, StoredWeight] = {}
    for record in records:
        name = record.name
        if name not in modules and name.removeprefix(base_prefix) in modules:
            name = name.removeprefix(base_prefix)  # AutoModel: the same architecture without its head
        old = modules.get(name)
        if old is None and record.role == "head" and model.get_output_embeddings() is None:
            continue
        if old is None:
            raise ModelError(
                f"{record.name}: the config stores this layer, and the architecture "
                f"{type(model).__name__} has none of that name. config.json does not fit: quantise again."
            )
        swapped[record.name] = new = _replacement(record, old, dtype)
        _put(model, name, new)
    for module in swapped.values():
        if module.record.table_of is not None:
            module.use_table_of(swapped[module.record.table_of])
    _untie(model, dtype)


def _take_apart(model: Any, records: Iterable[LayerRecord]) -> None:
    """Give the experts that records name a module each, still dense."""
    base_prefix = f"{model.base_model_prefix}."
    modules = dict(model.named_modules())
    for name in {expert[0] for record in records if (expert := split_expert(record.name))}:
        for own in (name, name.removeprefix(base_prefix)):
            if own in modules and is_fused(modules[own]):
                parent, _, child = own.rpartition(".")
                unfuse_one(model.get_submodule(parent), child)


def _replacement(record: LayerRecord, old: nn.Module, dtype: torch.dtype | None) -> StoredWeight:
    shape = _shape(old, transposed=record.transposed)
    if shape != record.shape:
        raise ModelError(
            f"{record.name}: stored as {list(record.shape)}, and the architecture has "
            f"{type(old).__name__} {list(shape or ())} there. config.json does not fit: quantise again."
        )
    weight = old.weight
    dtype = dtype or weight.dtype  # type: ignore[assignment]
    new: StoredWeight
    if record.role == "embedding":
        padding = getattr(old, "padding_idx", None)
        scaled = old if isinstance(old, nn.Embedding) and hasattr(old, "scalar_embed_scale") else None
        new = KbitEmbedding(record, dtype=dtype, padding_idx=padding, scaled=scaled, device=weight.device)
    else:
        bias = getattr(old, "bias", None) is not None
        new = KbitLinear(record, bias=bias, dtype=dtype, device=weight.device)
    new.train(old.training)
    return new


def _shape(module: nn.Module, *, transposed: bool) -> tuple[int, int] | None:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        return None
    rows, columns = weight.shape
    return (columns, rows) if transposed else (rows, columns)


def _put(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def _untie(model: Any, dtype: torch.dtype | None) -> None:
    """Tie by calling the embedding, where Transformers would tie by sharing a parameter."""
    from transformers import PreTrainedModel

    for target, source in list(model.all_tied_weights_keys.items()):
        embedding = model.get_submodule(source.rpartition(".")[0])
        if isinstance(embedding, KbitEmbedding):
            name = target.rpartition(".")[0]
            bias = getattr(model.get_submodule(name), "bias", None)
            kind = {} if bias is None else {"dtype": dtype or bias.dtype, "device": bias.device}
            _put(model, name, KbitTiedHead(embedding, bias=bias is not None, **kind))
    for name, module in model.named_modules():
        if not isinstance(module, PreTrainedModel):
            continue
        prefix = f"{name}." if name else ""
        # Both maps: the expanded one is used when loading, the class's when someone calls tie_weights().
        module.all_tied_weights_keys = _unpacked(model, prefix, module.all_tied_weights_keys)
        if module._tied_weights_keys:
            module._tied_weights_keys = _unpacked(model, prefix, module._tied_weights_keys) or None


def _unpacked(model: nn.Module, prefix: str, tied: Mapping[str, str]) -> dict[str, str]:
    return {target: source for target, source in tied.items() if not _is_packed(model, prefix + source)}


def _is_packed(model: nn.Module, parameter: str) -> bool:
    try:
        owner = model.get_submodule(parameter.rpartition(".")[0])
    except AttributeError:  # a pattern, not a name: left as it is
        return False
    return isinstance(owner, StoredWeight)
