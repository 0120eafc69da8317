"""Small random models of several architectures, written as Hugging Face folders."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

# Widths that no block size divides, on purpose.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "hidden_size": 48, "intermediate_size": 172, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101, "tie_word_embeddings": False,
    },
    "llama-tied": {
        "model_type": "llama", "hidden_size": 48, "intermediate_size": 172, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101, "tie_word_embeddings": True,
    },
    "gpt2": {
        "model_type": "gpt2", "n_embd": 40, "n_layer": 2, "n_head": 4, "vocab_size": 101, "n_positions": 64,
    },
    "qwen2": {
        "model_type": "qwen2", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101, "tie_word_embeddings": True,
    },
    "opt": {
        "model_type": "opt", "hidden_size": 48, "ffn_dim": 100, "num_hidden_layers": 2,
        "word_embed_proj_dim": 24, "num_attention_heads": 4, "vocab_size": 101, "max_position_embeddings": 64,
    },
    "gpt_neox": {
        "model_type": "gpt_neox", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 101, "max_position_embeddings": 64,
    },
    "mistral": {
        "model_type": "mistral", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101, "sliding_window": 5,
    },
    "qwen3": {
        "model_type": "qwen3", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 20, "vocab_size": 101,
    },
    "gemma": {
        "model_type": "gemma", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 20, "vocab_size": 101,
    },
    "gemma2": {
        "model_type": "gemma2", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 20, "vocab_size": 101,
        "sliding_window": 5,
    },
    "gemma3": {
        "model_type": "gemma3_text", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 7,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 20, "vocab_size": 101,
        "sliding_window": 5,
    },
    "phi": {
        "model_type": "phi", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 101,
    },
    "phi3": {
        "model_type": "phi3", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101, "pad_token_id": 0,
    },
    "bloom": {
        "model_type": "bloom", "hidden_size": 48, "n_layer": 2, "n_head": 4, "vocab_size": 101,
    },
    "qwen2_moe": {
        "model_type": "qwen2_moe", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 101, "num_experts": 3, "num_experts_per_tok": 2,
        "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "intermediate_size": 40,
    },
    "mixtral": {
        "model_type": "mixtral", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101, "num_local_experts": 3,
    },
}  # fmt: skip


def make_model(name: str, *, dtype: torch.dtype = torch.bfloat16, seed: int = 0, **changes: Any) -> Any:
    """A random model; biases and norms are random too, so that a lost one shows."""
    settings = dict(ARCHITECTURES[name]) | changes
    config = AutoConfig.for_model(settings.pop("model_type"), bos_token_id=1, eos_token_id=2, **settings)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.normal_(std=0.15)
    return model.to(dtype).eval()


def write_model(folder: Path, name: str, **changes: Any) -> Path:
    """Such a model as a folder."""
    make_model(name, **changes).save_pretrained(folder)
    return folder
