"""Training of latent-variable models of text: VAE and GAN, and the plain language model beside them."""

from kbit.training.latent.recipe import LatentRecipe, Variant, read_latent_recipe
from kbit.training.latent.vae import TrainedVariant, train_vae

__all__ = ["LatentRecipe", "TrainedVariant", "Variant", "read_latent_recipe", "train_vae"]
