"""What a step of a variational autoencoder minimises, and how its KL term is weighed."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kbit.coders.latent import reconstruction_nats
from kbit.models.latent import LatentModel
from kbit.training.latent.recipe import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Of one batch: the loss in nats a token that is minimised, and what it is made of in nats a piece."""

    loss: Tensor
    distortion: float
    rate: float
    kl_weight: float


def kl_weight(variant: Variant, step: int, steps: int) -> float:
    """Weight of the KL term at a step; 0 while the model is an autoencoder.

    >>> linear = Variant(name="x", annealing="linear", annealing_share=0.5)
    >>> [kl_weight(linear, step, 100) for step in (0, 25, 50, 99)]
    [0.0, 0.5, 1.0, 1.0]
    >>> cyclical = Variant(name="x", annealing="cyclical", annealing_share=1.0, cycles=2)
    >>> [kl_weight(cyclical, step, 100) for step in (0, 25, 49, 50, 60, 99)]
    [0.0, 1.0, 1.0, 0.0, 0.4, 1.0]
    """
    first = round(variant.autoencoder_share * steps)
    if step < first:
        return 0.0
    done, span = step - first, max(1.0, variant.annealing_share * (steps - first))
    if variant.annealing == "linear":
        risen = done / span
    elif variant.annealing == "cyclical" and done < span:
        cycle = span / variant.cycles
        risen = (done % cycle) / cycle * 2
    else:
        risen = 1.0
    return variant.kl_weight * min(1.0, risen)


def vae_terms(
    model: LatentModel,
    ids: Tensor,
    mask: Tensor,
    variant: Variant,
    *,
    step: int,
    steps: int,
    hidden_token: int,
) -> Terms:
    """The loss of a batch (Kingma & Welling 2014, equation 7), with the variant's remedies.

    Args:
        model: any; a plain language model has no rate.
        ids: int64 [pieces, tokens].
        mask: bool, the same shape.
        variant: remedies.
        step: where the training stands.
        steps: where it ends.
        hidden_token: what stands for an input token that word dropout hides.
    """
    tokens = int(mask[:, 1:].sum())
    read = ids
    if variant.word_dropout:
        dropped = torch.rand(ids.shape) < variant.word_dropout
        dropped[:, 0] = False
        read = ids.masked_fill(dropped, hidden_token)
    # On a CPU matrices this small lose twice the time to conversions that bfloat16 saves in products.
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=ids.device.type != "cpu"):
        if not model.latent_size:
            nats = _nats(model, read, ids, mask, None)
            mean = nats.sum() / tokens
            return Terms(loss=mean, distortion=float(nats.detach().mean()), rate=0.0, kl_weight=0.0)
        posterior = model.posterior(ids, mask)
        weight = kl_weight(variant, step, steps)
        plain = step < round(variant.autoencoder_share * steps)
        z = posterior.mean if plain else posterior.sample()
        nats = _nats(model, read, ids, mask, z)
    if model.prior.standard:
        each = posterior.kl_to_standard().float().mean(dim=0)
        rate, pressed = each.sum(), each.clamp(min=variant.free_nats).sum()
    else:
        rate = pressed = (posterior.log_density(z) - model.prior.log_density(z)).float().mean()
    loss = (nats.mean() + weight * pressed) * (len(ids) / tokens)
    return Terms(
        loss=loss, distortion=float(nats.detach().mean()), rate=float(rate.detach()), kl_weight=weight
    )


def _nats(model: LatentModel, read: Tensor, ids: Tensor, mask: Tensor, z: Tensor | None) -> Tensor:
    """-log p(x | z) of each piece, float32 [pieces], where the decoder reads `read` in place of `ids`."""
    if read is ids:
        return reconstruction_nats(model, ids, mask, z).float()
    hidden, _ = model.decode(read[:, :-1], z)
    logits = model.lm_head(hidden).float()
    nats = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(
        len(ids), -1
    )
    return (nats * mask[:, 1:]).sum(dim=1)
