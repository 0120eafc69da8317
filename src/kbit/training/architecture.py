"""From a rung's widths to a model: parameters, FLOPs, and the Transformers module itself."""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

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


def size_of(rung: Rung, model: ModelPart, vocabulary: int) -> Size:
    """Count a rung's parameters and training FLOPs from its widths.

    A token's forward and backward pass costs 6 FLOPs a weight of its matrices (the head among them) and
    12 x layers x hidden x context / 2 for causal attention (Kaplan et al. 2020, appendix B, and Narayanan
    et al. 2021).
    """
    hidden, key_value = rung.hidden, rung.hidden // model.key_value_groups
    attention = 2 * hidden * hidden + 2 * hidden * key_value
    matrices = rung.layers * (attention + 3 * hidden * rung.intermediate)
    norms = (2 * rung.layers + 1) * hidden
    embeddings = vocabulary * hidden
    return Size(
        body_parameters=matrices + norms,
        embedding_parameters=embeddings,
        flops_per_token=6 * (matrices + embeddings) + 6 * rung.layers * hidden * model.context,
    )


def config_of(rung: Rung, model: ModelPart, *, vocabulary: int) -> LlamaConfig:
    """The Transformers configuration of a rung: tied embeddings, BOS 0, EOS 1, no padding token."""
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


def new_model(config: LlamaConfig, *, seed: int, residual_init: str = "scaled") -> LlamaForCausalLM:
    """A model with fresh float32 weights that depend on the configuration and the seed alone.

    Matrices start normal with deviation fan_in ** -0.5, embeddings with 0.02, norms at one. Matrices that
    write to the residual stream start smaller by (2 x layers) ** -0.5 (`scaled`, as GPT-2's) or at `zero`.
    """
    model = LlamaForCausalLM(config).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
                continue
            deviation = 0.02 if "embed_tokens" in name else weight.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                deviation *= 0.0 if residual_init == "zero" else (2 * config.num_hidden_layers) ** -0.5
            weight.normal_(0.0, deviation, generator=generator)
    return model
