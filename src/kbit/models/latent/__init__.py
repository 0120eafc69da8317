"""Text through a latent space: a decoder that reads a vector, and the encoder that gives it."""

from kbit.models.latent.config import LatentConfig
from kbit.models.latent.model import LatentModel
from kbit.models.latent.register import is_latent, register

__all__ = ["LatentConfig", "LatentModel", "is_latent", "register"]
