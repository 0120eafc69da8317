"""Normal distributions with diagonal covariance, and the prior: the standard normal or a learnt mixture."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal:
    """One for each text: mean and log variance, each [texts, latent]."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None, *, draws: int | None = None) -> Tensor:
        """Draw z, mean + standard deviation x noise; [texts, latent], or [draws, texts, latent]."""
        shape = self.mean.shape if draws is None else (draws, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + torch.exp(self.log_variance / 2) * noise

    def log_density(self, z: Tensor) -> Tensor:
        """Log density q(z | x) in nats, summed over dimensions: the shape of z without its last axis."""
        return log_normal(z, self.mean, self.log_variance)

    def kl_to_standard(self) -> Tensor:
        """KL(q || N(0, 1)) of each dimension in nats, [texts, latent] (Kingma & Welling 2014, appendix B)."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance) / 2


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density in nats of a normal with diagonal covariance, summed over the last axis."""
    square = (z - mean).square() / log_variance.exp()
    return -(square + log_variance + LOG_TWO_PI).sum(dim=-1) / 2


class Prior(nn.Module):
    """`p(z)`: N(0, 1), or a mixture of normals whose weights, means and variances are learnt."""

    def __init__(self, latent_size: int, components: int) -> None:
        super().__init__()
        self.latent_size, self.components = latent_size, components
        if components > 1:
            self.logits = nn.Parameter(torch.zeros(components))
            self.means = nn.Parameter(torch.zeros(components, latent_size))
            self.log_variances = nn.Parameter(torch.zeros(components, latent_size))
            self.reset()

    def reset(self) -> None:
        """Components begin apart: equal means would stay equal."""
        if self.components > 1:
            nn.init.zeros_(self.logits)
            nn.init.normal_(self.means, std=1.0)
            nn.init.zeros_(self.log_variances)

    @property
    def standard(self) -> bool:
        """Whether it is N(0, 1)."""
        return self.components == 1

    def log_density(self, z: Tensor) -> Tensor:
        """Log density p(z) in nats: the shape of z without its last axis."""
        if self.standard:
            return -(z.square() + LOG_TWO_PI).sum(dim=-1) / 2
        each = log_normal(z[..., None, :], self.means.to(z.dtype), self.log_variances.to(z.dtype))
        return torch.logsumexp(each + self.logits.to(z.dtype).log_softmax(dim=0), dim=-1)

    def sample(self, texts: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws from the prior, float32 [texts, latent]."""
        noise = torch.randn(texts, self.latent_size, generator=generator)
        if self.standard:
            return noise
        which = torch.multinomial(self.logits.softmax(dim=0), texts, replacement=True, generator=generator)
        return self.means[which] + torch.exp(self.log_variances[which] / 2) * noise
