"""Which weights make a layer's inputs: for the proxy that finds outlier dimensions without data.

An input dimension is a hidden unit; its weights are a row of the layer that computes it. Inputs from the
residual stream are told by the layer that wrote to it last. Source: Dettmers & Zettlemoyer 2022, arXiv
2212.09720, section 3.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kbit.errors import UsageError

EMBEDDING = "embedding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Previous:
    """Where a layer's inputs come from.

    Attributes:
        layer: suffix of the module's name after the block's number; several, of which the model has one.
        block: 0 for the same block, -1 for the one before (the embedding for the first).
        part: all rows; or those of the values in a joint projection, by `thirds` or within each `heads`;
            `values` are repeated where heads share them.
    """

    layer: tuple[str, ...]
    block: int = 0
    part: str = "all"


_LLAMA = {
    **{f"self_attn.{x}_proj": Previous(layer=("mlp.down_proj", "fc2"), block=-1) for x in "qkv"},
    "self_attn.o_proj": Previous(layer=("self_attn.v_proj",), part="values"),
    "mlp.gate_proj": Previous(layer=("self_attn.o_proj",)),
    "mlp.up_proj": Previous(layer=("self_attn.o_proj",)),
    "mlp.down_proj": Previous(layer=("mlp.up_proj",)),
}
_OPT = {  # q, k and v are called as in Llama
    "self_attn.out_proj": Previous(layer=("self_attn.v_proj",)),
    "fc1": Previous(layer=("self_attn.out_proj",)),
    "fc2": Previous(layer=("fc1",)),
}
_GPT2 = {
    "attn.c_attn": Previous(layer=("mlp.c_proj",), block=-1),
    "attn.c_proj": Previous(layer=("attn.c_attn",), part="thirds"),
    "mlp.c_fc": Previous(layer=("attn.c_proj",)),
    "mlp.c_proj": Previous(layer=("mlp.c_fc",)),
}
_NEOX = {
    "attention.query_key_value": Previous(layer=("mlp.dense_4h_to_h",), block=-1),
    "attention.dense": Previous(layer=("attention.query_key_value",), part="heads"),
    # Attention and feed-forward part of a block read the same residual stream.
    "mlp.dense_h_to_4h": Previous(layer=("mlp.dense_4h_to_h",), block=-1),
    "mlp.dense_4h_to_h": Previous(layer=("mlp.dense_h_to_4h",)),
}
PREVIOUS: Mapping[str, Previous] = {**_LLAMA, **_OPT, **_GPT2, **_NEOX}

_BLOCK = re.compile(r"^(?P<stem>.*?\.)(?P<number>\d+)\.(?P<layer>.*)$")


def input_spread(
    name: str,
    columns: int,
    config: Mapping[str, Any],
    embedding: str,
    read: Callable[[str], Tensor],
    modules: Collection[str],
) -> Tensor:
    """Standard deviation of the weights of each of a layer's input units, float64 [columns].

    Args:
        name: of the layer, as the architecture calls it.
        columns: its inputs.
        config: `config.json`, for the number of heads.
        embedding: name of the token embedding.
        read: gives the weight of a module as [outputs, inputs] ([tokens, width] for the embedding).
        modules: those that `read` knows.

    Raises:
        UsageError: an architecture whose layers this table does not know.
    """
    match = _BLOCK.match(name)
    previous = PREVIOUS.get(match["layer"]) if match else None
    if match is None or previous is None:
        raise UsageError(
            f"the proxy needs to know which layer comes before {name!r}, and knows Llama-, OPT-, GPT-2- and "
            "GPT-NeoX-like architectures. Choose another method."
        )
    block = int(match["number"]) + previous.block
    if block < 0:
        return _fitting(name, read(embedding).T, columns).double().std(dim=1, correction=0)
    stem = f"{match['stem']}{block}."
    found = [stem + layer for layer in previous.layer if stem + layer in modules]
    if not found:
        raise UsageError(
            f"the proxy looks for {' or '.join(previous.layer)} before {name!r}, and the model has none. "
            "Choose another method."
        )
    rows = _rows(read(found[0]), previous.part, columns, config)
    return _fitting(name, rows, columns).double().std(dim=1, correction=0)


def _rows(weight: Tensor, part: str, columns: int, config: Mapping[str, Any]) -> Tensor:
    if part == "thirds":
        return weight[-(weight.shape[0] // 3) :]
    heads = config.get("num_attention_heads") or config.get("n_head")
    if part == "heads" and isinstance(heads, int) and weight.shape[0] % (3 * heads) == 0:
        return weight.view(heads, 3, -1, weight.shape[1])[:, 2].reshape(-1, weight.shape[1])
    if part == "values" and isinstance(heads, int) and columns != weight.shape[0]:
        head_dim = max(1, columns // heads)
        grouped = weight.view(-1, head_dim, weight.shape[1])
        return grouped.repeat_interleave(heads // len(grouped), dim=0).reshape(-1, weight.shape[1])
    return weight


def _fitting(name: str, rows: Tensor, columns: int) -> Tensor:
    if rows.shape[0] != columns:
        raise UsageError(
            f"the proxy finds {rows.shape[0]} units before {name!r}, which has {columns} inputs: the "
            "architecture is another than its names say. Choose another method."
        )
    return torch.as_tensor(rows)
