"""From a rung's widths to a model: parameters, FLOPs, and the Transformers module itself."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from kbit.training.recipe import ModelPart, Rung


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What a rung weighs and costs."""

    body_parameters: int
    embedding_parameters: int
    flops_per_token: int

    @property
    def parameters(self) -> int:
        """All parameters; the tied head counts once."""
        return self.body_parameters + self.embedding_parameters

    @property
    def stored_bytes(self) -> int:
        """Bytes of the weights in bfloat16."""
        return 2 * self.parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One kind of Transformer: its configuration, and its parameters counted from widths.

    Attributes:
        name: as a recipe writes it.
        mlp_ratio: intermediate width over hidden width that the rule of depth and width uses.
        config: (rung, shared part, vocabulary) -> the Transformers configuration.
        matrices: parameters of the body's matrices.
        vectors: parameters of the body's norms and biases.
        positions: parameters of learnt positions.
        residual_outputs: ends of names of the matrices that write to the residual stream.
    """

    name: str
    mlp_ratio: float
    config: Callable[[Rung, ModelPart, int], PretrainedConfig]
    matrices: Callable[[Rung, ModelPart], int]
    vectors: Callable[[Rung, ModelPart], int]
    positions: Callable[[Rung, ModelPart], int]
    residual_outputs: tuple[str, ...]


def _llama_config(rung: Rung, model: ModelPart, vocabulary: int) -> PretrainedConfig:
    heads = rung.hidden // model.head_width
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=rung.hidden,
        intermediate_size=rung.intermediate,
        num_hidden_layers=rung.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // model.key_value_groups,
        head_dim=model.head_width,
        max_position_embeddings=model.context,
        rms_norm_eps=1e-5,
        rope_theta=model.rope_theta,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        attention_bias=False,
        mlp_bias=False,
        attn_implementation="sdpa",
    )


def _llama_matrices(rung: Rung, model: ModelPart) -> int:
    attention = 2 * rung.hidden * rung.hidden + 2 * rung.hidden * (rung.hidden // model.key_value_groups)
    return rung.layers * (attention + 3 * rung.hidden * rung.intermediate)


def _gpt2_config(rung: Rung, model: ModelPart, vocabulary: int) -> PretrainedConfig:
    return GPT2Config(
        vocab_size=vocabulary,
        n_positions=model.context,
        n_embd=rung.hidden,
        n_layer=rung.layers,
        n_head=rung.hidden // model.head_width,
        n_inner=rung.intermediate,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        attn_implementation="sdpa",
    )


ARCHITECTURES = {
    row.name: row
    for row in (
        Architecture(
            name="llama",
            mlp_ratio=8 / 3,
            config=_llama_config,
            matrices=_llama_matrices,
            vectors=lambda rung, model: (2 * rung.layers + 1) * rung.hidden,
            positions=lambda rung, model: 0,
            residual_outputs=("o_proj.weight", "down_proj.weight"),
        ),
        Architecture(
            name="gpt2",
            mlp_ratio=4.0,
            config=_gpt2_config,
            matrices=lambda rung, model: (
                rung.layers * (4 * rung.hidden * rung.hidden + 2 * rung.hidden * rung.intermediate)
            ),
            vectors=lambda rung, model: rung.layers * (9 * rung.hidden + rung.intermediate) + 2 * rung.hidden,
            positions=lambda rung, model: model.context * rung.hidden,
            residual_outputs=("c_proj.weight",),
        ),
    )
}
"""Llama (Touvron et al. 2023): RMSNorm, rotary positions, SwiGLU. GPT-2 (Radford et al. 2019): LayerNorm,
learnt positions, GELU, biases. Both with tied embeddings, BOS 0, EOS 1, no padding token, no dropout."""


def size_of(rung: Rung, model: ModelPart, vocabulary: int) -> Size:
    """Count a rung's parameters and training FLOPs from its widths.

    A token's forward and backward pass costs 6 FLOPs a weight of its matrices (the head among them) and
    12 x layers x hidden x context / 2 for causal attention (Kaplan et al. 2020, appendix B, and Narayanan
    et al. 2021).
    """
    row = ARCHITECTURES[model.architecture]
    matrices, embeddings = row.matrices(rung, model), vocabulary * rung.hidden
    return Size(
        body_parameters=matrices + row.vectors(rung, model),
        embedding_parameters=embeddings + row.positions(rung, model),
        flops_per_token=6 * (matrices + embeddings) + 6 * rung.layers * rung.hidden * model.context,
    )


def config_of(rung: Rung, model: ModelPart, *, vocabulary: int) -> PretrainedConfig:
    """The Transformers configuration of a rung."""
    return ARCHITECTURES[model.architecture].config(rung, model, vocabulary)


def new_model(config: PretrainedConfig, *, seed: int, residual_init: str = "scaled") -> PreTrainedModel:
    """A model with fresh float32 weights that depend on the configuration and the seed alone.

    Matrices start normal with deviation fan_in ** -0.5, embeddings with 0.02, norms at one, biases at zero.
    Matrices that write to the residual stream start smaller by (2 x layers) ** -0.5 (`scaled`, as GPT-2's)
    or at `zero`.
    """
    row = ARCHITECTURES[config.model_type]
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            embedding = any(part in name for part in ("embed_tokens", ".wte.", ".wpe."))
            fan_in = weight.shape[0 if row.name == "gpt2" else 1]  # Conv1D is [in, out]
            deviation = 0.02 if embedding else fan_in**-0.5
            if name.endswith(row.residual_outputs):
                deviation *= 0.0 if residual_init == "zero" else (2 * config.num_hidden_layers) ** -0.5
            weight.normal_(0.0, deviation, generator=generator)
    return model
