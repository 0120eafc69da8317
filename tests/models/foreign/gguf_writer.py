"""GGUF files of small random models, as llama.cpp's converter lays them out: written without kbit.

Names are those of the gguf package's own map from Transformers; what the converter changes (conversion/*.py
of llama.cpp) is written here from its code.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
PLAIN = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "max_position_embeddings": 64}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
HALF = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
# llama.cpp's architecture to Transformers' configuration.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **SIZES, "attention_bias": True},
    "llama-tied": {"model_type": "llama", **SIZES, "tie_word_embeddings": True, "head_dim": 32},
    "llama-linear": {
        "model_type": "llama",
        **SIZES,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0},
    },
    "mixtral": {"model_type": "mixtral", **SIZES, "num_local_experts": 3, "num_experts_per_tok": 2},
    "qwen2": {"model_type": "qwen2", **SIZES},
    "qwen2moe": {"model_type": "qwen2_moe", **SIZES, **EXPERTS, "shared_expert_intermediate_size": 48},
    "qwen3": {"model_type": "qwen3", **SIZES, "head_dim": 32},
    "qwen3moe": {"model_type": "qwen3_moe", **SIZES, **EXPERTS, "head_dim": 32, "norm_topk_prob": True},
    "gemma": {"model_type": "gemma", **SIZES, "head_dim": 16},
    "gemma2": {
        "model_type": "gemma2", **SIZES, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4,
    },
    "gemma3": {
        "model_type": "gemma3_text", **SIZES, "num_hidden_layers": 7, "head_dim": 16,
        "query_pre_attn_scalar": 16, "sliding_window": 4,
    },
    "phi2": {"model_type": "phi", **PLAIN, "intermediate_size": 96, "rope_parameters": HALF},
    "phi3": {"model_type": "phi3", **SIZES, "original_max_position_embeddings": 64, "pad_token_id": 0},
    "gpt2": {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gptneox": {"model_type": "gpt_neox", **PLAIN, "intermediate_size": 96, "rope_parameters": HALF},
    "bloom": {"model_type": "bloom", "hidden_size": 64, "n_layer": 2, "n_head": 4, "seq_length": 64},
}  # fmt: skip
VOCABULARY = 288


def make(name: str, seed: int = 0) -> Any:
    """The Transformers model, float32; norms and biases are random too."""
    settings = dict(MODELS[name])
    config = AutoConfig.for_model(settings.pop("model_type"), vocab_size=VOCABULARY, **settings)
    config.bos_token_id = config.eos_token_id = 1
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1) if parameter.ndim > 1 else parameter.add_(
                torch.randn_like(parameter) * 0.1
            )
    return model.eval()


def converted(name: str, model: Any) -> dict[str, np.ndarray]:
    """llama.cpp's tensors of a model, float32."""
    arch, config = name.split("-")[0], model.config
    arch = "llama" if arch == "mixtral" else arch
    key = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)
    names = gguf.get_tensor_name_map(key, config.num_hidden_layers)
    tied = set(model.all_tied_weights_keys)
    found: dict[str, np.ndarray] = {}
    for parameter, tensor in model.state_dict().items():
        if parameter in tied:
            continue
        array = tensor.numpy()
        if parameter.endswith("experts.gate_up_proj"):
            layer, half = parameter.split(".")[2], array.shape[1] // 2
            found[f"blk.{layer}.ffn_gate_exps.weight"] = array[:, :half]
            found[f"blk.{layer}.ffn_up_exps.weight"] = array[:, half:]
            continue
        if parameter.endswith("experts.down_proj"):
            found[f"blk.{parameter.split('.')[2]}.ffn_down_exps.weight"] = array
            continue
        # The map knows GPT-NeoX's head by its old name.
        old = parameter.replace("lm_head", "embed_out") if arch == "gptneox" else parameter
        old = old.removeprefix("transformer.") if arch == "bloom" else old
        theirs = names.get_name(old, try_suffixes=(".weight", ".bias"))
        assert theirs is not None, parameter
        found[theirs] = _changed(arch, parameter, array, config)
    return found


def _changed(arch: str, name: str, array: np.ndarray, config: Any) -> np.ndarray:
    if arch == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
        return halves.swapaxes(1, 2).reshape(array.shape)
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return array + 1
    if arch == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return array.T
    if arch in ("gptneox", "bloom") and "query_key_value" in name:
        heads = config.num_attention_heads
        by_head = array.reshape(heads, 3, array.shape[0] // heads // 3, *array.shape[1:])
        return by_head.swapaxes(0, 1).reshape(array.shape)
    return array


def write(file: Path, name: str, model: Any, types: dict[str, str] | str = "F32", **more: Any) -> dict:
    """Write a model, each matrix in a type that the gguf package can quantise to; what was stored, decoded.

    Args:
        file: to write.
        name: in `MODELS`.
        model: from `make`.
        types: of matrices, one for all or by tensor; the rest is float32.
        more: further metadata, by whole key.
    """
    arch = "llama" if name.startswith(("llama", "mixtral")) else name
    writer = gguf.GGUFWriter(file, arch)
    metadata(writer, arch, name, model.config)
    for key, value in more.items():
        writer.add_string(key, value) if isinstance(value, str) else writer.add_uint32(key, value)
    stored = {}
    for theirs, array in converted(name, model).items():
        kind = types if isinstance(types, str) else types.get(theirs, "F32")
        code = gguf.GGMLQuantizationType[kind if array.ndim > 1 else "F32"]
        raw = quantize(np.ascontiguousarray(array), code)
        stored[theirs] = gguf.quants.dequantize(raw, code)
        writer.add_tensor(theirs, raw, raw_dtype=code)
    vocabulary(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def metadata(writer: Any, arch: str, name: str, config: Any) -> None:
    """What the converter writes of a configuration."""
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(getattr(config, "max_position_embeddings", None) or config.seq_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    writer.add_feed_forward_length(wide)
    writer.add_head_count(heads)
    if hasattr(config, "num_key_value_heads"):
        writer.add_head_count_kv(config.num_key_value_heads)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key in ("layer_norm_eps", "layer_norm_epsilon"):
        if hasattr(config, key):
            writer.add_layer_norm_eps(getattr(config, key))
    if arch in ("llama", "qwen3", "qwen3moe") or arch.startswith("gemma"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = getattr(config, "rope_parameters", None) or {}
    if name == "gemma3":
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    elif "rope_theta" in rope:
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if name in ("qwen2moe", "qwen3moe"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if name in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def vocabulary(writer: Any) -> None:
    """A byte-level vocabulary: an end of text, 256 bytes, some merges."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or")]
    tokens = ["<|endoftext|>", "<|begin|>", *bytes_to_unicode().values(), *("".join(m) for m in merges)]
    unused = VOCABULARY - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *(f"[PAD{i}]" for i in range(unused))])
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2), *[5] * unused])
    writer.add_token_merges([" ".join(m) for m in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
