"""A latent-variable model as a coder: an upper bound on the bits of a text.

log p(x) is no sum one can make, but `log p_K(x) = log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)`, z_k drawn
from q, is below it on average for every K and rises to it (Burda et al. 2016, "Importance weighted
autoencoders", theorem 1); K = 1 is the evidence lower bound. Bits-back coding with as many draws attains it
(Ruan et al. 2021), so its negative is a code length, apart from the random bits it begins with.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kbit.coders.code_lengths import CodeLengths, Json
from kbit.coders.logits import evaluating
from kbit.coders.pieces import Piece, batch_of, pieces_of
from kbit.coders.tokens import find_prefix
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError
from kbit.models.latent import LatentModel
from kbit.models.numerics import numerics_of

LN2 = math.log(2)
DEFAULT_SAMPLES = 16
ROWS = 64
"""Texts times draws that are decoded together."""
PIECES = 32
"""Texts that are read together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """What a batch of pieces costs, in nats, float64 [pieces]."""

    importance_weighted: Tensor
    """-log p_K."""
    distortion: Tensor
    """-E_q[log p(x | z)], the mean over the draws."""
    rate: Tensor
    """KL(q(z | x) || p(z)); by draws where the prior is a mixture."""

    @property
    def elbo(self) -> Tensor:
        """Rate and distortion: the evidence lower bound with its sign turned."""
        return self.rate + self.distortion


def reconstruction_nats(model: LatentModel, ids: Tensor, mask: Tensor, latents: Tensor | None) -> Tensor:
    """-log p(x | z) of each piece in nats, its end token counted; [pieces].

    Args:
        model: the decoder.
        ids: int64 [pieces, tokens], see `batch_of`.
        mask: bool, the same shape.
        latents: [pieces, latent], or None for a plain language model.
    """
    hidden, _ = model.decode(ids[:, :-1], latents)
    scored = mask[:, 1:]
    nats = functional.cross_entropy(
        model.lm_head(hidden[scored]).float(), ids[:, 1:][scored], reduction="none"
    )
    sums = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(scored)[scored]
    return sums.index_add(0, rows, nats.double())


@torch.inference_mode()
def bound(
    model: LatentModel, ids: Tensor, mask: Tensor, *, samples: int, generator: torch.Generator | None = None
) -> Bound:
    """Both bounds of each piece, with so many draws of z.

    Args:
        model: any; of a plain language model both bounds are its exact code length.
        ids: int64 [pieces, tokens], see `batch_of`.
        mask: bool, the same shape.
        samples: K, at least 1.
        generator: of the draws.
    """
    if not model.latent_size:
        exact = reconstruction_nats(model, ids, mask, None)
        return Bound(importance_weighted=exact, distortion=exact, rate=torch.zeros_like(exact))
    posterior = model.posterior(ids, mask)
    z = posterior.sample(generator, draws=samples)
    pieces = len(ids)
    nats = torch.cat(
        [
            reconstruction_nats(
                model, ids.repeat(len(part), 1), mask.repeat(len(part), 1), part.flatten(0, 1)
            )
            for part in torch.split(z, max(1, ROWS // pieces))
        ]
    ).view(samples, pieces)
    ratio = model.prior.log_density(z).double() - posterior.log_density(z).double()
    log_p = torch.logsumexp(ratio - nats, dim=0) - math.log(samples)
    # The KL to the standard normal is known; that to a mixture is the mean over the draws.
    known = model.prior.standard
    rate = posterior.kl_to_standard().double().sum(dim=-1) if known else -ratio.mean(dim=0)
    return Bound(importance_weighted=-log_p, distortion=nats.mean(dim=0), rate=rate)


class LatentCoder:
    """Codes each piece of a document with the importance-weighted bound of a latent-variable model.

    The end of each piece is coded, so a reader knows where the next vector begins; the end of the document is
    not, as with every other coder. Draws depend on the seed and the document's own text alone.
    """

    version = 1

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, samples: int = DEFAULT_SAMPLES, seed: int = 0
    ) -> None:
        """Prepare to code.

        Args:
            model: a `LatentModel`, of any number of bits.
            tokenizer: its tokeniser.
            name: what to call it.
            samples: draws of z a piece; more are nearer to the exact code length.
            seed: of the draws.

        Raises:
            UsageError: there is no draw to make.
            CoderError: the tokeniser has no begin or no end token.
        """
        if samples < 1:
            raise UsageError(f"{samples} draws of the latent vector are asked for; give at least 1.")
        if tokenizer.eos_token_id is None:
            raise CoderError(f"{name}: the tokeniser has no end-of-text token, which ends each piece.")
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.samples, self.seed = samples, seed
        self.prefix = find_prefix(tokenizer)
        self.end = int(tokenizer.eos_token_id)

    @property
    def settings(self) -> Mapping[str, Json]:
        """How documents are cut, and how many draws are made."""
        config = self.model.config
        drawn = {"bound": "importance-weighted", "samples": self.samples, "seed": self.seed}
        return {
            "pieces": config.pieces,
            "context": config.max_position_embeddings,
            "prefix": self.prefix.id,
        } | (drawn if self.model.latent_size else {})

    @property
    def numerics(self) -> Mapping[str, Json]:
        """In what numbers the run is done."""
        dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        found = {"forward": dtype, "logits": "float32", "sums": "float64", "device": self.model.device.type}
        products = numerics_of(self.model)
        return found if products == "a16" else found | {"activations": products}

    def pieces(self, document: Document) -> tuple[list[Piece], int]:
        """A document's pieces, and the bytes its tokeniser loses."""
        config = self.model.config
        longest = config.max_position_embeddings - 2
        return pieces_of(document, self.tokenizer, kind=config.pieces, longest=longest)

    def bounds(self, document: Document) -> Iterator[tuple[Sequence[Piece], Bound]]:
        """Both bounds of a document's pieces, some at a time, by length.

        Raises:
            CoderError: the tokeniser gives a token that the model does not know, or a bound is no number.
        """
        pieces, _ = self.pieces(document)
        yield from self._of_pieces(document, pieces)

    def _of_pieces(self, document: Document, pieces: list[Piece]) -> Iterator[tuple[Sequence[Piece], Bound]]:
        largest = max((max(piece.ids) for piece in pieces), default=0)
        if largest >= self.model.config.vocab_size:
            raise CoderError(
                f"the tokeniser gives token {largest} in document {document.name!r}, but the model has "
                f"{self.model.config.vocab_size} tokens. Model and tokeniser do not belong together."
            )
        digest = hashlib.sha256(f"{self.seed} ".encode() + document.text.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        ordered = sorted(pieces, key=lambda piece: len(piece.ids))
        with evaluating(self.model):
            for start in range(0, len(ordered), PIECES):
                some = ordered[start : start + PIECES]
                ids, mask = batch_of(some, begin=self.prefix.id, end=self.end)
                found = bound(self.model, ids, mask, samples=self.samples, generator=generator)
                if not bool(torch.isfinite(found.importance_weighted).all()):
                    raise CoderError(
                        f"{self.name} gives document {document.name!r} a code length that is no number. Try "
                        "--dtype float32; if that does not help, the weights are damaged."
                    )
                yield some, found

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document, streamed; for a latent model an upper bound."""
        for document in documents:
            pieces, lost = self.pieces(document)
            nats = [float(x) for _, b in self._of_pieces(document, pieces) for x in b.importance_weighted]
            yield CodeLengths(
                document=document.name,
                bits=math.fsum(nats) / LN2,
                bytes=document.bytes,
                characters=document.characters,
                tokens=sum(len(piece.ids) + 1 for piece in pieces),
                bytes_lost=lost,
            )
