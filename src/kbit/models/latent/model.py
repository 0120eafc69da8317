"""The model: an encoder that gives each text a normal distribution, and a decoder that reads a vector of it.

Bowman et al. 2016, "Generating sentences from a continuous space"; the vector is added to every token's
embedding, so that no layer can lose it. Weights load and save as those of any causal language model do.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from kbit.models.latent.config import LatentConfig
from kbit.models.latent.layers import Stack, State
from kbit.models.latent.normal import Normal, Prior

INIT_STD = 0.02


class LatentModel(PreTrainedModel):  # type: ignore[misc]
    """`p(x | z)` as a causal decoder, `q(z | x)` as an encoder, and the prior `p(z)`.

    Pieces of text are rows of token numbers: begin, the text's tokens, end, padding.
    """

    config_class = LatentConfig
    base_model_prefix = "model"
    _tied_weights_keys = {"lm_head.weight": "embedding.weight"}  # noqa: RUF012 (Transformers' own form)
    _supports_sdpa = True

    def __init__(self, config: LatentConfig) -> None:
        super().__init__(config)
        width, latent = config.hidden_size, config.latent_size
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.max_position_embeddings, width)
        self.decoder = Stack(config, layers=config.num_hidden_layers, causal=True)
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        if latent:
            self.encoder = Stack(config, layers=config.encoder_layers, causal=False)
            self.posterior_proj = nn.Linear(width, 2 * latent)
            self.condition_proj = nn.Linear(latent, width, bias=False)
            self.prior = Prior(latent, config.prior_components)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            # A vector of the prior begins no louder than a token's embedding: else its noise drowns the text
            # before the encoder has anything to say, and the decoder is worse than without it to the end.
            quiet = module is getattr(self, "condition_proj", None)
            scale = self.latent_size**-0.5 / 2 if quiet else 1.0
            nn.init.normal_(module.weight, std=INIT_STD * scale)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.RMSNorm):
            nn.init.ones_(module.weight)
        if isinstance(module, Prior):
            module.reset()

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding, of both halves."""
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        """The output layer."""
        return self.lm_head

    @property
    def latent_size(self) -> int:
        """Dimensions of z; 0 for a plain language model."""
        return int(self.config.latent_size)

    def embed(self, ids: Tensor, first: int = 0) -> Tensor:
        """Token and position embeddings, [texts, tokens, hidden]."""
        places = torch.arange(first, first + ids.shape[1], device=ids.device)
        out: Tensor = self.embedding(ids) + self.positions(places)
        return out

    def posterior(self, ids: Tensor, mask: Tensor) -> Normal:
        """`q(z | x)`.

        Args:
            ids: int64 [texts, tokens].
            mask: bool [texts, tokens], True up to the end token.
        """
        hidden, _ = self.encoder(self.embed(ids), mask)
        weight = mask.to(hidden.dtype)[..., None]
        pooled = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        mean, log_variance = self.posterior_proj(pooled).chunk(2, dim=-1)
        return Normal(mean=mean, log_variance=log_variance)

    def decode(
        self, ids: Tensor, latents: Tensor | None, *, state: State | None = None, first: int = 0
    ) -> tuple[Tensor, State | None]:
        """Hidden states that logits are made of.

        Args:
            ids: int64 [texts, tokens], beginning with the begin token.
            latents: [texts, latent]; None for a plain language model.
            state: an LSTM's, to go on from.
            first: place of the first token in its text.

        Returns:
            [texts, tokens, hidden], and an LSTM's state.
        """
        x = self.embed(ids, first)
        if latents is not None:
            x = x + self.condition_proj(latents)[:, None]
        hidden: tuple[Tensor, State | None] = self.decoder(x, state=state)
        return hidden

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        latents: Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Logits `p(next token | tokens before, z)`, [texts, tokens, vocabulary].

        Without `latents`, z is the posterior's mean where `attention_mask` marks whole texts, which is what
        calibration needs; a plain language model has none.
        """
        if self.latent_size and latents is None:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            latents = self.posterior(input_ids, mask.bool()).mean
        hidden = self.decode(input_ids, latents)[0]
        return CausalLMOutput(logits=self.lm_head(hidden))
