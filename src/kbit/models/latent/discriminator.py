"""Is a text human or generated? One logit a text, for adversarial training; it is no part of what is kept."""

from torch import Tensor, nn

from kbit.models.latent.config import LatentConfig
from kbit.models.latent.layers import Stack


class Discriminator(nn.Module):
    """An encoder of its own, mean of its states, one logit."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.encoder = Stack(config, layers=config.encoder_layers, causal=False)
        self.head = nn.Linear(config.hidden_size, 1)

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
