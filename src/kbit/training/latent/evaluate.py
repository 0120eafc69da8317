"""A trained latent-variable model on held-out text: both bounds, and what its latent space is used for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kbit.coders.latent import LN2, LatentCoder, bound
from kbit.coders.pieces import Piece, batch_of
from kbit.corpus.document import Document
from kbit.models.latent import LatentModel
from kbit.models.latent.normal import Normal, log_normal
from kbit.models.latent.sampling import sample
from kbit.training.latent.recipe import Evaluation

ACTIVE_VARIANCE = 0.01
"""Of a dimension's posterior mean over texts, from which it counts as used (Burda et al. 2016, 5.2)."""
BATCH = 32
RECONSTRUCTED = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentFigures:
    """Of held-out pieces; nats are means over pieces. What a plain language model does not have is None.

    Attributes:
        texts: pieces looked at; `bytes` of them in UTF-8.
        elbo_bits_per_byte: rate and distortion, an upper bound on the bits.
        bits_per_byte: the importance-weighted bound of so many `samples`, tighter; exact for a plain model.
        standard_error: of the latter, over pieces.
        rate_nats, distortion_nats: KL to the prior, and what remains to be told.
        active_units: dimensions whose posterior mean varies by more than 0.01 over texts.
        mutual_information_nats: I(x; z) under q, by draws, against the whole set.
        reconstruction_bleu: of texts decoded greedily from their posterior mean; None with its `reason`.
    """

    texts: int
    bytes: int
    samples: int
    bits_per_byte: float
    standard_error: float
    elbo_bits_per_byte: float
    distortion_nats: float
    rate_nats: float | None = None
    active_units: int | None = None
    mutual_information_nats: float | None = None
    reconstruction_bleu: float | None = None
    bleu_signature: str | None = None
    reason: str | None = None


@torch.inference_mode()
def evaluate_latent(
    model: LatentModel, tokenizer: Any, held_out: Sequence[Document], evaluation: Evaluation, *, seed: int = 0
) -> LatentFigures:
    """Measure a model on the first so many pieces of held-out documents.

    Args:
        model: in evaluation mode, float32.
        tokenizer: its tokeniser.
        held_out: documents it was not trained on.
        evaluation: how many pieces and draws.
        seed: of the draws.
    """
    coder = LatentCoder(model, tokenizer, name="held out", samples=evaluation.samples)
    pieces: list[Piece] = []
    for document in held_out:
        pieces += coder.pieces(document)[0]
        if len(pieces) >= evaluation.texts:
            break
    pieces = pieces[: evaluation.texts]
    generator = torch.Generator().manual_seed(seed)
    weighted, distortion, rate, means, log_variances, sizes = [], [], [], [], [], []
    for start in range(0, len(pieces), BATCH):
        some = pieces[start : start + BATCH]
        ids, mask = batch_of(some, begin=coder.prefix.id, end=coder.end)
        found = bound(model, ids, mask, samples=evaluation.samples, generator=generator)
        weighted.append(found.importance_weighted)
        distortion.append(found.distortion)
        rate.append(found.rate)
        sizes += [len(tokenizer.decode(piece.ids).encode()) for piece in some]
        if model.latent_size:
            posterior = model.posterior(ids, mask)
            means.append(posterior.mean)
            log_variances.append(posterior.log_variance)
    bits, bytes_ = torch.cat(weighted) / LN2, torch.tensor(sizes, dtype=torch.float64)
    ratio = float(bits.sum() / bytes_.sum())
    residual = bits - ratio * bytes_
    variance = float(residual.square().sum()) * len(bits) / max(1, len(bits) - 1)
    told, kl = torch.cat(distortion), torch.cat(rate)
    figures = LatentFigures(
        texts=len(pieces),
        bytes=int(bytes_.sum()),
        samples=evaluation.samples,
        bits_per_byte=ratio,
        standard_error=math.sqrt(variance) / float(bytes_.sum()),
        elbo_bits_per_byte=float((told + kl).sum() / LN2 / bytes_.sum()),
        distortion_nats=float(told.mean()),
    )
    if not model.latent_size:
        return replace(figures, samples=1)
    posterior = Normal(mean=torch.cat(means), log_variance=torch.cat(log_variances))
    bleu, signature, reason = _reconstruction(model, tokenizer, pieces, posterior.mean, coder)
    return replace(
        figures,
        rate_nats=float(kl.mean()),
        active_units=active_units(posterior.mean),
        mutual_information_nats=mutual_information(posterior, generator),
        reconstruction_bleu=bleu,
        bleu_signature=signature,
        reason=reason,
    )


def active_units(means: Tensor) -> int:
    """Dimensions of z that depend on the text.

    Args:
        means: posterior means, [texts, latent].
    """
    if len(means) < 2:
        return 0
    return int((means.var(dim=0) > ACTIVE_VARIANCE).sum())


def mutual_information(posterior: Normal, generator: torch.Generator | None = None) -> float:
    """I(x; z) in nats under q: mean of log q(z | x) - log q(z), with q(z) the mean over all texts given.

    It cannot exceed the logarithm of their number (Hoffman & Johnson 2016); one draw for each text.

    Args:
        posterior: of each text, [texts, latent].
        generator: of the draws.
    """
    z = posterior.sample(generator)
    own = posterior.log_density(z)
    texts = len(z)
    mixed = [
        torch.logsumexp(log_normal(part[:, None], posterior.mean, posterior.log_variance), dim=1)
        for part in torch.split(z, 64)
    ]
    return float((own - torch.cat(mixed) + math.log(texts)).mean())


def _reconstruction(
    model: LatentModel, tokenizer: Any, pieces: Sequence[Piece], means: Tensor, coder: LatentCoder
) -> tuple[float | None, str | None, str | None]:
    """BLEU of texts decoded from their own vectors, its signature, or why there is none."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        return None, None, "BLEU needs the extra 'bleu': pip install 'kbit[bleu]'"
    some = pieces[:RECONSTRUCTED]
    made = sample(
        model,
        means[: len(some)],
        texts=len(some),
        begin=coder.prefix.id,
        end=coder.end,
        temperature=0.0,
    )
    decoded = [tokenizer.decode(tokens) for tokens in made.tokens]
    originals = [tokenizer.decode(piece.ids) for piece in some]
    letters = sum(text.count(" ") for text in originals) < len(originals)
    metric = BLEU(tokenize="zh" if letters else "13a")
    score = metric.corpus_score(decoded, [originals])
    return float(score.score), str(metric.get_signature()), None
