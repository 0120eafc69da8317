"""Tell Transformers of latent models, so that they load, save and quantise as other models do."""

from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM

from kbit.models.latent.config import LatentConfig
from kbit.models.latent.model import LatentModel


def register() -> None:
    """Register with Transformers; a second call changes nothing."""
    AutoConfig.register(LatentConfig.model_type, LatentConfig, exist_ok=True)
    AutoModelForCausalLM.register(LatentConfig, LatentModel, exist_ok=True)


def is_latent(model: Any) -> bool:
    """Whether a model, 16-bit or k-bit, is one of these."""
    return getattr(model.config, "model_type", None) == LatentConfig.model_type
