"""From the names and layouts of GGUF tensors to those of Transformers' models: one row an architecture.

llama.cpp's converter renames tensors, and changes some: it is undone here (llama.cpp, conversion/*.py).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

Undo = Callable[[Tensor, Mapping[str, Any]], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a GGUF tensor goes.

    Attributes:
        parameter: in the Transformers model.
        undo: what gives the tensor back its layout there; None where it is the same.
        part: (which, of how many) along the second dimension, of a parameter that several tensors make up.
    """

    parameter: str
    undo: Undo | None = None
    part: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The names of one architecture: `{}` is a layer's number, and suffixes are left out.

    Attributes:
        names: llama.cpp's to Transformers'.
        undo: llama.cpp's name, without a layer, to what undoes the converter's change.
        whole: names that are parameters themselves, without `.weight`.
    """

    names: Mapping[str, str]
    undo: Mapping[str, Undo] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()


def _heads(config: Mapping[str, Any], key: str) -> int:
    return int(config[key])


def _unpermute(key: str) -> Undo:
    """llama.cpp rotates neighbouring rows of a head, Transformers its halves (conversion/llama.py)."""

    def undo(weight: Tensor, config: Mapping[str, Any]) -> Tensor:
        heads = _heads(config, key)
        pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
        return pairs.transpose(1, 2).reshape(weight.shape)

    return undo


def _transposed(weight: Tensor, _config: Mapping[str, Any]) -> Tensor:
    return weight.T if weight.ndim == 2 else weight


def _minus_one(weight: Tensor, _config: Mapping[str, Any]) -> Tensor:
    return weight - 1


def _by_head(key: str) -> Undo:
    """Queries, keys and values one after another, back to each head's three (conversion/bloom.py)."""

    def undo(weight: Tensor, config: Mapping[str, Any]) -> Tensor:
        heads = _heads(config, key)
        three = weight.reshape(3, heads, weight.shape[0] // heads // 3, *weight.shape[1:])
        return three.transpose(0, 1).reshape(weight.shape)

    return undo


def _row(weight: Tensor, _config: Mapping[str, Any]) -> Tensor:
    return weight.reshape(1, -1)


_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION = {
    "blk.{}.attn_norm": "model.layers.{}.input_layernorm",
    "blk.{}.attn_q": "model.layers.{}.self_attn.q_proj",
    "blk.{}.attn_k": "model.layers.{}.self_attn.k_proj",
    "blk.{}.attn_v": "model.layers.{}.self_attn.v_proj",
    "blk.{}.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.{}.attn_q_norm": "model.layers.{}.self_attn.q_norm",
    "blk.{}.attn_k_norm": "model.layers.{}.self_attn.k_norm",
}
_MLP = {
    "blk.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_gate": "model.layers.{}.mlp.gate_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.up_proj",
    "blk.{}.ffn_down": "model.layers.{}.mlp.down_proj",
}
_EXPERTS = {
    "blk.{}.ffn_gate_inp": "model.layers.{}.mlp.gate",
    "blk.{}.ffn_gate_exps": "model.layers.{}.mlp.experts.gate_up_proj",
    "blk.{}.ffn_up_exps": "model.layers.{}.mlp.experts.gate_up_proj",
    "blk.{}.ffn_down_exps": "model.layers.{}.mlp.experts.down_proj",
    "blk.{}.ffn_gate_shexp": "model.layers.{}.mlp.shared_expert.gate_proj",
    "blk.{}.ffn_up_shexp": "model.layers.{}.mlp.shared_expert.up_proj",
    "blk.{}.ffn_down_shexp": "model.layers.{}.mlp.shared_expert.down_proj",
    "blk.{}.ffn_gate_inp_shexp": "model.layers.{}.mlp.shared_expert_gate",
}
_FOUR_NORMS = {
    "blk.{}.post_attention_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_norm": "model.layers.{}.pre_feedforward_layernorm",
    "blk.{}.post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
}
_PHI2 = {
    "blk.{}.attn_output": "model.layers.{}.self_attn.dense",
    "blk.{}.ffn_up": "model.layers.{}.mlp.fc1",
    "blk.{}.ffn_down": "model.layers.{}.mlp.fc2",
    "output_norm": "model.final_layernorm",
}
_PHI3 = {
    "blk.{}.attn_qkv": "model.layers.{}.self_attn.qkv_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.gate_up_proj",
}
_GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.{}.attn_norm": "transformer.h.{}.ln_1",
    "blk.{}.attn_qkv": "transformer.h.{}.attn.c_attn",
    "blk.{}.attn_output": "transformer.h.{}.attn.c_proj",
    "blk.{}.ffn_norm": "transformer.h.{}.ln_2",
    "blk.{}.ffn_up": "transformer.h.{}.mlp.c_fc",
    "blk.{}.ffn_down": "transformer.h.{}.mlp.c_proj",
}
_NEOX = {
    "token_embd": "gpt_neox.embed_in",
    "output_norm": "gpt_neox.final_layer_norm",
    "output": "lm_head",
    "blk.{}.attn_norm": "gpt_neox.layers.{}.input_layernorm",
    "blk.{}.attn_qkv": "gpt_neox.layers.{}.attention.query_key_value",
    "blk.{}.attn_output": "gpt_neox.layers.{}.attention.dense",
    "blk.{}.ffn_norm": "gpt_neox.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "blk.{}.ffn_down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
}
_BLOOM = {
    "token_embd": "transformer.word_embeddings",
    "token_embd_norm": "transformer.word_embeddings_layernorm",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.{}.attn_norm": "transformer.h.{}.input_layernorm",
    "blk.{}.attn_qkv": "transformer.h.{}.self_attention.query_key_value",
    "blk.{}.attn_output": "transformer.h.{}.self_attention.dense",
    "blk.{}.ffn_norm": "transformer.h.{}.post_attention_layernorm",
    "blk.{}.ffn_up": "transformer.h.{}.mlp.dense_h_to_4h",
    "blk.{}.ffn_down": "transformer.h.{}.mlp.dense_4h_to_h",
}
_WHOLE = frozenset({"blk.{}.ffn_gate_exps", "blk.{}.ffn_up_exps", "blk.{}.ffn_down_exps"})
_PARTS = {"blk.{}.ffn_gate_exps": (0, 2), "blk.{}.ffn_up_exps": (1, 2)}
_ROTARY: dict[str, Undo] = {
    "blk.{}.attn_q": _unpermute("num_attention_heads"),
    "blk.{}.attn_k": _unpermute("num_key_value_heads"),
}
_NORMS: dict[str, Undo] = dict.fromkeys(
    ("output_norm", *(n for n in (*_ATTENTION, *_MLP, *_FOUR_NORMS) if n.endswith("_norm"))), _minus_one
)
_CONV1D: dict[str, Undo] = {
    f"blk.{{}}.{name}": _transposed for name in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
}
_LLAMA = {**_TOP, **_ATTENTION, **_MLP}
_QWEN_MOE = Names(names={**_LLAMA, **_EXPERTS}, undo={"blk.{}.ffn_gate_inp_shexp": _row}, whole=_WHOLE)
_GEMMA2 = Names(names={**_LLAMA, **_FOUR_NORMS}, undo=_NORMS)

NAMES: Mapping[str, Names] = MappingProxyType(
    {
        "llama": Names(names={**_LLAMA, **_EXPERTS}, undo=_ROTARY, whole=_WHOLE),
        "qwen2": Names(names=_LLAMA),
        "qwen2moe": _QWEN_MOE,
        "qwen3": Names(names=_LLAMA),
        "qwen3moe": _QWEN_MOE,
        "gemma": Names(names=_LLAMA, undo=_NORMS),
        "gemma2": _GEMMA2,
        "gemma3": _GEMMA2,
        "phi2": Names(names={**_LLAMA, **_PHI2}),
        "phi3": Names(names={**_LLAMA, **_PHI3}),
        "gpt2": Names(names=_GPT2, undo=_CONV1D),
        "gptneox": Names(names=_NEOX, undo={"blk.{}.attn_qkv": _by_head("num_attention_heads")}),
        "bloom": Names(names=_BLOOM, undo={"blk.{}.attn_qkv": _by_head("n_head")}),
    }
)
"""By llama.cpp's name of the architecture; every one of `ARCHITECTURES`."""

_LAYER = re.compile(r"^blk\.(\d+)\.")


def place_of(architecture: str, tensor: str) -> Place | None:
    """Where a tensor goes in the Transformers model, or None where the architecture has no place for it.

    >>> place_of("llama", "blk.3.ffn_up.weight").parameter
    'model.layers.3.mlp.up_proj.weight'
    """
    row = NAMES[architecture]
    stem, _, suffix = tensor.rpartition(".")
    match = _LAYER.match(stem)
    number = match[1] if match else ""
    generic = _LAYER.sub("blk.{}.", stem)
    if generic not in row.names or suffix not in ("weight", "bias"):
        return None
    name = row.names[generic].format(number)
    return Place(
        parameter=name if generic in row.whole else f"{name}.{suffix}",
        undo=row.undo.get(generic),
        part=_PARTS.get(generic),
    )


def is_embedding(tensor: str) -> bool:
    """Whether a tensor is a look-up table or the output layer, as `StoredBits` has them."""
    return tensor.rpartition(".")[0] in ("token_embd", "position_embd", "output")
