"""From a GGUF file's metadata to the configuration of a Transformers model.

What llama.cpp fixes in code rather than in the file is written here with its place in llama.cpp. What would
change the numbers and is not understood is an error, never left out.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from kbit.errors import ModelError
from kbit.models.foreign.gguf_header import GgufFile

DEFAULT_THETA = 10000.0


class _Keys:
    """The metadata of one architecture, by names without its prefix."""

    def __init__(self, file: GgufFile) -> None:
        self.file, self._prefix = file, file.architecture

    def get(self, name: str, default: Any = None) -> Any:
        value = self.file.metadata.get(f"{self._prefix}.{name}", default)
        if isinstance(value, list):  # a number for each layer
            if not value or any(v != value[0] for v in value):
                raise ModelError(
                    f"{self.file.path}: {self._prefix}.{name} differs from layer to layer, as Transformers' "
                    f"models of this kind cannot: kbit does not read this {self._prefix}."
                )
            value = value[0]
        return value

    def need(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise ModelError(
                f"{self.file.path}: its metadata lack {self._prefix}.{name}, so the model cannot be built. "
                "Convert it again with a current llama.cpp."
            )
        return value

    def rows(self, tensor: str) -> int:
        """Rows of a tensor that must be there."""
        if tensor not in self.file.tensors:
            raise ModelError(f"{self.file.path}: has no tensor {tensor!r}: the file is incomplete.")
        return self.file.tensors[tensor].shape[0]

    def has(self, tensor: str) -> bool:
        return tensor in self.file.tensors


def _sizes(k: _Keys) -> dict[str, Any]:
    heads = k.need("attention.head_count")
    return {
        "hidden_size": k.need("embedding_length"),
        "num_hidden_layers": k.need("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": k.get("attention.head_count_kv", heads),
        "max_position_embeddings": k.need("context_length"),
        "vocab_size": k.rows("token_embd.weight"),
        "tie_word_embeddings": not k.has("output.weight"),
    }


def _head_dim(k: _Keys) -> int:
    own = k.get("attention.key_length")
    head_dim = int(own or k.need("embedding_length") // k.need("attention.head_count"))
    if k.get("attention.value_length", head_dim) != head_dim:
        raise ModelError(f"{k.file.path}: keys and values of different widths are not supported.")
    return head_dim


def _rope(k: _Keys, *, partial: bool = False) -> dict[str, Any]:
    """Rotary positions. `rope_freqs.weight` (Llama 3) is applied when the model is loaded."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": k.get("rope.freq_base", DEFAULT_THETA)}
    kind = k.get("rope.scaling.type", "none")
    if kind == "linear":
        rope |= {"rope_type": "linear", "factor": k.need("rope.scaling.factor")}
    elif kind != "none" or any("rope_factors" in name for name in k.file.tensors):
        raise ModelError(
            f"{k.file.path}: its positions are scaled as {'longrope' if kind == 'none' else kind!r}, and "
            "kbit reads none, linear and Llama 3's from GGUF. Measure the original model instead."
        )
    width = _head_dim(k)
    rotated = k.get("rope.dimension_count", width)
    if partial:
        rope["partial_rotary_factor"] = rotated / width
    elif rotated != width:
        raise ModelError(
            f"{k.file.path}: rotates {rotated} of {width} dimensions, and {k.file.architecture} all of them."
        )
    return rope


def _llama_like(k: _Keys, model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        **_sizes(k),
        "intermediate_size": k.need("feed_forward_length"),
        "head_dim": _head_dim(k),
        "rms_norm_eps": k.need("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rope(k),
        **more,
    }


def _llama(k: _Keys) -> dict[str, Any]:
    if k.get("expert_count"):
        experts = {
            "num_local_experts": k.need("expert_count"),
            "num_experts_per_tok": k.need("expert_used_count"),
        }
        return _llama_like(k, "mixtral", sliding_window=None, **experts)
    biases = {"attention_bias": k.has("blk.0.attn_q.bias"), "mlp_bias": k.has("blk.0.ffn_gate.bias")}
    return _llama_like(k, "llama", **biases)


def _qwen2moe(k: _Keys) -> dict[str, Any]:
    return _llama_like(
        k,
        "qwen2_moe",
        num_experts=k.need("expert_count"),
        num_experts_per_tok=k.need("expert_used_count"),
        moe_intermediate_size=k.need("expert_feed_forward_length"),
        shared_expert_intermediate_size=k.rows("blk.0.ffn_gate_shexp.weight"),
        norm_topk_prob=False,  # llama.cpp, src/models/qwen2moe.cpp
    )


def _qwen3moe(k: _Keys) -> dict[str, Any]:
    return _llama_like(
        k,
        "qwen3_moe",
        num_experts=k.need("expert_count"),
        num_experts_per_tok=k.need("expert_used_count"),
        moe_intermediate_size=k.need("expert_feed_forward_length"),
        norm_topk_prob=True,  # llama.cpp, src/models/qwen3moe.cpp
    )


def _gemma_scale(k: _Keys, largest: int) -> int:
    """What queries are divided by the root of: a head's width, but in the largest model.

    Source: llama.cpp, src/models/gemma2.cpp and gemma3.cpp.
    """
    if k.need("block_count") == largest:
        return int(k.need("embedding_length")) // int(k.need("attention.head_count"))
    return _head_dim(k)


def _gemma2(k: _Keys) -> dict[str, Any]:
    return _llama_like(
        k,
        "gemma2",
        query_pre_attn_scalar=_gemma_scale(k, 46),
        attn_logit_softcapping=k.get("attn_logit_softcapping", 50.0),
        final_logit_softcapping=k.get("final_logit_softcapping", 30.0),
        sliding_window=k.get("attention.sliding_window", 4096),
    )


def _gemma3(k: _Keys) -> dict[str, Any]:
    local = {"rope_type": "default", "rope_theta": k.get("rope.freq_base_swa", DEFAULT_THETA)}
    layers = k.need("block_count")
    found = _llama_like(k, "gemma3_text", query_pre_attn_scalar=_gemma_scale(k, 62))
    found["rope_parameters"] = {"full_attention": found["rope_parameters"], "sliding_attention": local}
    found["sliding_window"] = k.need("attention.sliding_window")
    found["final_logit_softcapping"] = k.get("final_logit_softcapping")
    # Every sixth layer looks at everything (llama.cpp, src/models/gemma3.cpp).
    found["layer_types"] = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)]
    return found


def _phi2(k: _Keys) -> dict[str, Any]:
    return {
        "model_type": "phi",
        **_sizes(k),
        "intermediate_size": k.need("feed_forward_length"),
        "layer_norm_eps": k.need("attention.layer_norm_epsilon"),
        "rope_parameters": _rope(k, partial=True),
    }


def _phi3(k: _Keys) -> dict[str, Any]:
    return _llama_like(
        k,
        "phi3",
        rope_parameters=_rope(k, partial=True),
        original_max_position_embeddings=k.get(
            "rope.scaling.original_context_length", k.need("context_length")
        ),
        sliding_window=k.get("attention.sliding_window") or None,
        pad_token_id=None,
    )


def _gpt2(k: _Keys) -> dict[str, Any]:
    sizes = _sizes(k)
    return {
        "model_type": "gpt2",
        "n_embd": sizes["hidden_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": sizes["num_attention_heads"],
        "n_positions": sizes["max_position_embeddings"],
        "n_inner": k.need("feed_forward_length"),
        "vocab_size": sizes["vocab_size"],
        "tie_word_embeddings": sizes["tie_word_embeddings"],
        "layer_norm_epsilon": k.need("attention.layer_norm_epsilon"),
    }


def _gptneox(k: _Keys) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        **_sizes(k),
        "intermediate_size": k.need("feed_forward_length"),
        "layer_norm_eps": k.need("attention.layer_norm_epsilon"),
        "use_parallel_residual": k.get("use_parallel_residual", True),
        "rope_parameters": _rope(k, partial=True),
    }


def _bloom(k: _Keys) -> dict[str, Any]:
    sizes = _sizes(k)
    return {
        "model_type": "bloom",
        "hidden_size": sizes["hidden_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": sizes["num_attention_heads"],
        "seq_length": sizes["max_position_embeddings"],
        "vocab_size": sizes["vocab_size"],
        "tie_word_embeddings": sizes["tie_word_embeddings"],
        "layer_norm_epsilon": k.need("attention.layer_norm_epsilon"),
    }


_BUILDERS: Mapping[str, Callable[[_Keys], dict[str, Any]]] = MappingProxyType(
    {
        "llama": _llama,
        "qwen2": lambda k: _llama_like(k, "qwen2"),
        "qwen2moe": _qwen2moe,
        "qwen3": lambda k: _llama_like(k, "qwen3"),
        "qwen3moe": _qwen3moe,
        "gemma": lambda k: _llama_like(k, "gemma"),
        "gemma2": _gemma2,
        "gemma3": _gemma3,
        "phi2": _phi2,
        "phi3": _phi3,
        "gpt2": _gpt2,
        "gptneox": _gptneox,
        "bloom": _bloom,
    }
)
ARCHITECTURES = tuple(_BUILDERS)
"""llama.cpp's names of the architectures that kbit reads; `llama` is Mistral's and Mixtral's too."""


def gguf_config(file: GgufFile) -> dict[str, Any]:
    """What `config.json` of the same model says.

    Raises:
        ModelError: an architecture that kbit does not read, or metadata that are missing.
    """
    builder = _BUILDERS.get(file.architecture)
    if builder is None:
        raise ModelError(
            f"{file.path}: holds a model of llama.cpp's architecture {file.architecture!r}. kbit reads "
            f"{', '.join(ARCHITECTURES)}. Measure the original model instead."
        )
    keys = _Keys(file)
    config = builder(keys)
    for name, key in (("bos_token_id", "bos"), ("eos_token_id", "eos")):
        token = file.metadata.get(f"tokenizer.ggml.{key}_token_id")
        config[name] = token if token is None or token < config["vocab_size"] else None
    return config
