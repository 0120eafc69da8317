"""Walks through a latent space: texts drawn from the prior, and texts between two others."""

import torch
from torch import Tensor

from kbit.models.latent.model import LatentModel
from kbit.models.latent.sampling import sample


def prior_texts(
    model: LatentModel, *, texts: int, begin: int, end: int, temperature: float = 1.0, seed: int = 0
) -> list[list[int]]:
    """Texts of vectors drawn from the prior, as tokens."""
    generator = torch.Generator().manual_seed(seed)
    z = model.prior.sample(texts, generator)
    made = sample(model, z, texts=texts, begin=begin, end=end, temperature=temperature, generator=generator)
    return made.tokens


def between(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Vectors on the straight line from one to the other, both among them; [steps, latent]."""
    shares = torch.linspace(0, 1, steps, dtype=first.dtype)[:, None]
    return first + shares * (last - first)


def decoded_path(model: LatentModel, path: Tensor, *, begin: int, end: int) -> list[list[int]]:
    """The likeliest text of each vector, token by token, as tokens."""
    return sample(model, path, texts=len(path), begin=begin, end=end, temperature=0.0).tokens
