"""A k-bit model made dense again, for work that needs ordinary weights."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from kbit.models.embedding import KbitEmbedding, KbitTiedHead
from kbit.models.experts import Experts, fuse
from kbit.models.linear import KbitLinear


def make_dense(model: Any, *, dtype: torch.dtype | None = None) -> Any:
    """Replace every k-bit module by a dense one that holds the decoded weight; changes `model`.

    Args:
        model: loaded from a k-bit folder.
        dtype: of the decoded weights; the model's own where None.

    Returns:
        The same model. GPT-2's `Conv1D` comes back as the linear layer it is equal to.
    """
    dtype = dtype or model.config.dtype or torch.get_default_dtype()
    if isinstance(dtype, str):  # as it stands in a config that was written
        dtype = getattr(torch, dtype)
    heads = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, KbitTiedHead):
            heads[name] = module
        elif isinstance(module, KbitEmbedding | KbitLinear):
            _put(model, name, _dense(module, dtype))
    for name, module in list(model.named_modules()):
        if isinstance(module, Experts):
            _put(model, name, fuse(module, lambda linear: cast(Tensor, linear.weight).detach()))
    for name, head in heads.items():
        linear = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
        linear.weight = model.get_input_embeddings().weight
        if head.bias is not None:
            linear.bias = head.bias
        _put(model, name, linear)
        model.all_tied_weights_keys = dict(type(model)._tied_weights_keys or {})
        model._tied_weights_keys = type(model)._tied_weights_keys
    return model


def _dense(module: KbitEmbedding | KbitLinear, dtype: torch.dtype) -> nn.Module:
    weight = nn.Parameter(module.dense(dtype))
    if isinstance(module, KbitEmbedding):
        tokens, width = weight.shape
        if module.scaled_type is not None:
            padding: Any = module.padding_idx
            kind: Any = module.scaled_type
            scaled: nn.Embedding = kind(tokens, width, padding, embed_scale=module.scale)
            scaled.weight = weight
            return scaled
        return nn.Embedding(tokens, width, padding_idx=module.padding_idx, _weight=weight)
    linear = nn.Linear(module.in_features, module.out_features, bias=False, device="meta")
    linear.weight = weight
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.detach().to(dtype))
    return linear


def _put(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
