"""Is a text human or generated? One logit a text, for adversarial training; it is no part of what is kept."""

import torch
from torch import Tensor, nn

from kbit.models.latent.config import LatentConfig
from kbit.models.latent.layers import Stack
from kbit.models.latent.model import LatentModel


class Discriminator(nn.Module):
    """An encoder of its own, mean of its states, one logit."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.encoder = Stack(config, layers=config.encoder_layers, causal=False)
        self.head = nn.Linear(config.hidden_size, 1)

    @torch.no_grad()
    def begin_as(self, generator: LatentModel) -> None:
        """Take over what the generator knows of the language: its embeddings, and its layers where as many.

        A discriminator that learns to read from nothing tells human from generated text no better than chance
        for hundreds of steps, and rewards that say nothing move nothing.
        """
        self.embedding.load_state_dict(generator.embedding.state_dict())
        self.positions.load_state_dict(generator.positions.state_dict())
        if len(self.encoder.layers) == len(generator.decoder.layers):
            self.encoder.load_state_dict(generator.decoder.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logit of being human, [texts].

        Args:
            ids: int64 [texts, tokens], the begin token first.
            mask: bool, the same shape, True up to the end token.
        """
        places = self.positions.weight[: ids.shape[1]]
        hidden, _ = self.encoder(self.embedding(ids) + places, mask)
        weight = mask.to(hidden.dtype)[..., None]
        pooled = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        out: Tensor = self.head(pooled)[:, 0]
        return out
