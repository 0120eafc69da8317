"""How far a model's predictions are from another's, token by token on the same text."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kbit.coders.code_lengths import Json
from kbit.coders.language_model import (
    check_finite,
    default_batch_size,
    target_bits,
    tokenise_all,
    window_plan,
)
from kbit.coders.logits import LogitReader, evaluating
from kbit.coders.scoring import Batching, Floats, WindowBatch, length_step, token_values
from kbit.coders.tokens import find_prefix
from kbit.corpus import Document
from kbit.errors import CoderError
from kbit.information.estimate import RESAMPLES, Estimate, paired_bootstrap

VERSION = 1
KL, AGREED, MODEL_BITS, REFERENCE_BITS = range(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentDivergence:
    """Sums over the tokens of one document."""

    document: str
    kl_bits: float
    """KL(reference || model), bits."""
    agreed: int
    """Tokens where both think the same token likeliest."""
    model_bits: float
    reference_bits: float
    bytes: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """Divergence of a model from a reference, by document."""

    documents: tuple[DocumentDivergence, ...]
    settings: Mapping[str, Json]
    version: int = VERSION

    @property
    def kl_bits(self) -> float:
        """KL(reference || model) summed over all tokens, in bits."""
        return math.fsum(d.kl_bits for d in self.documents)

    @property
    def tokens(self) -> int:
        """Tokens compared."""
        return sum(d.tokens for d in self.documents)

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the text."""
        return sum(d.bytes for d in self.documents)

    def kl_bits_per_byte(self, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
        """Divergence over bytes, with an interval over documents."""
        return paired_bootstrap(
            [d.kl_bits for d in self.documents],
            [d.bytes for d in self.documents],
            seed=seed,
            resamples=resamples,
        )

    def agreement(self, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
        """Share of tokens where both think the same token likeliest, with an interval over documents."""
        return paired_bootstrap(
            [d.agreed for d in self.documents],
            [d.tokens for d in self.documents],
            seed=seed,
            resamples=resamples,
        )


def divergence(
    model: Any,
    reference: Any,
    tokenizer: Any,
    documents: Iterable[Document],
    *,
    context: int | None = None,
    stride: int | None = None,
    batch_size: int | None = None,
    prefix: str | int | None = None,
    repeat_prefix: bool = True,
) -> Divergence:
    """Compare a model with a reference (its 16-bit original, say) at every token of a text.

    Both read the same windows, a batch at a time, and their logits are compared a few positions at a time:
    memory holds two models and one batch, however long the text.

    Args:
        model: the model that is judged.
        reference: the model it should be like; both have this tokeniser and as many tokens.
        tokenizer: their tokeniser.
        documents: the text, read once.
        context: tokens read at once; as in `LanguageModelCoder`, and so all that follows.
        stride: tokens from one window to the next.
        batch_size: windows run together.
        prefix: the token before a document.
        repeat_prefix: whether further windows begin with it too.

    Raises:
        CoderError: the two models have different vocabularies, or one gives no numbers.
    """
    readers = {"model": LogitReader(model), "reference": LogitReader(reference)}
    sizes = {which: reader.vocabulary for which, reader in readers.items()}
    if sizes["model"] != sizes["reference"]:
        raise CoderError(
            f"the model has {sizes['model']} tokens and the reference {sizes['reference']}: they can only be "
            "compared token by token with one vocabulary. Compare their bits per byte instead."
        )
    plan = window_plan(reference.config, context=context, stride=stride)
    window_plan(model.config, context=plan.context, stride=plan.stride)
    start = find_prefix(tokenizer, prefix)
    batching = Batching(
        plan=plan,
        prefix=start.id,
        repeat_prefix=repeat_prefix,
        size=default_batch_size(reference.device) if batch_size is None else batch_size,
        device=reference.device,
        length_step=length_step(*(reader.dtype for reader in readers.values())),
    )
    tokenised = tokenise_all(tokenizer, documents, vocabulary=sizes["reference"])
    compare = _comparison(readers["model"], readers["reference"])
    parts: list[DocumentDivergence] = []
    with evaluating(model, reference):
        for item, values in token_values(tokenised, batching, compare, columns=4):
            check_finite(values[:, REFERENCE_BITS], item, "the reference")
            check_finite(values[:, MODEL_BITS], item, "the model")
            check_finite(values[:, KL], item, "the divergence of the model")
            parts.append(
                DocumentDivergence(
                    document=item.document.name,
                    kl_bits=math.fsum(values[:, KL]),
                    agreed=int(values[:, AGREED].sum()),
                    model_bits=math.fsum(values[:, MODEL_BITS]),
                    reference_bits=math.fsum(values[:, REFERENCE_BITS]),
                    bytes=item.document.bytes,
                    tokens=len(item.ids),
                )
            )
    settings: Mapping[str, Json] = {
        "context": plan.context,
        "stride": plan.stride,
        "prefix": start.id,
        "prefix_rule": start.rule,
        "repeat_prefix": repeat_prefix,
    }
    return Divergence(documents=tuple(parts), settings=settings)


def _comparison(model: LogitReader, reference: LogitReader) -> Callable[[WindowBatch], Floats]:
    def compare(batch: WindowBatch) -> Floats:
        parts: list[Tensor] = []
        done = 0
        ours = model.pieces(batch.ids, batch.mask, batch.scored)
        theirs = reference.pieces(batch.ids, batch.mask, batch.scored)
        for q, p in zip(ours, theirs, strict=True):
            targets = batch.targets[done : done + len(q)]
            done += len(q)
            columns = (
                kl_bits(p, q),
                (q.argmax(dim=-1) == p.argmax(dim=-1)).double(),
                target_bits(q, targets),
                target_bits(p, targets),
            )
            parts.append(torch.stack(columns, dim=1))
        figures: Floats = torch.cat(parts).cpu().numpy()
        return figures

    return compare


def kl_bits(reference: Tensor, model: Tensor) -> Tensor:
    """KL(reference || model) of categorical distributions given by logits, in bits, float64 [positions].

    Summed as p (e^d - 1 - d) with d = log q - log p, which adds sum q - sum p = 0 to the usual sum of -p d:
    then no term is negative, small divergences do not drown in rounding, and equal logits give exactly zero.

    Args:
        reference: float32 [positions, vocabulary].
        model: the same.
    """
    log_p = reference.log_softmax(dim=-1).double()
    log_q = model.log_softmax(dim=-1).double()
    p, q, d = log_p.exp(), log_q.exp(), log_q - log_p
    # Far above p the first form would overflow; where p is nothing only q is left of either.
    terms = torch.where(d <= 1, p * (d.expm1() - d), q - p - p * d)
    return torch.where(p == 0, q, terms).sum(dim=-1) / math.log(2)
