"""MAUVE: how alike the distributions of two sets of texts are, through features of a model."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kbit.coders.language_model import LanguageModelCoder
from kbit.coders.logits import evaluating
from kbit.coders.tokens import tokenise
from kbit.corpus import Document
from kbit.errors import MissingExtraError, UsageError

ENOUGH_TEXTS = 5000
Features = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mauve:
    """MAUVE with what it depends on; `warning` where there are too few texts to compare it with others'."""

    value: float
    texts: tuple[int, int]
    buckets: int
    warning: str | None


def features(coder: LanguageModelCoder, documents: Iterable[Document]) -> Features:
    """The model's last hidden state at the last token of each text, float32 [texts, hidden].

    A text longer than the model's context is cut at its end, as MAUVE's authors do. Texts in any language:
    the features are those of a model that reads it.
    """
    body = coder.model.base_model
    found = []
    with evaluating(coder.model), torch.inference_mode():
        for document in documents:
            ids = [coder.prefix.id, *tokenise(coder.tokenizer, document).ids][: coder.plan.context]
            states = body(torch.tensor([ids], device=coder.model.device), use_cache=False)[0]
            found.append(states[0, -1].float().cpu().numpy())
    return np.stack(found)


def mauve(one: Features, other: Features, *, seed: int = 25, buckets: int | None = None) -> Mauve:
    """Area under the divergence curve of two sets of features, 0 (nothing in common) to 1.

    Args:
        one: [texts, dimensions].
        other: the same.
        seed: of the clustering.
        buckets: clusters; by default a tenth of the smaller set, as the package does.

    Raises:
        MissingExtraError: mauve-text is not installed.
        UsageError: a set has fewer than two texts.

    Source: Pillutla et al., "MAUVE: Measuring the gap between neural text and human text", NeurIPS 2021;
    computed by its authors' package.
    """
    if importlib.util.find_spec("mauve") is None:
        raise MissingExtraError("mauve", needed_for="MAUVE")
    if min(len(one), len(other)) < 2:
        raise UsageError(f"MAUVE of {len(one)} and {len(other)} texts is asked for; give at least 2 of each.")
    from mauve import compute_mauve

    size = buckets or max(2, round(min(len(one), len(other)) / 10))
    result: Any = compute_mauve(p_features=one, q_features=other, num_buckets=size, seed=seed, verbose=False)
    fewest = min(len(one), len(other))
    return Mauve(
        value=float(result.mauve),
        texts=(len(one), len(other)),
        buckets=size,
        warning=None
        if fewest >= ENOUGH_TEXTS
        else f"MAUVE of {fewest} texts is noisy and too high; {ENOUGH_TEXTS} of each are asked for. "
        "Compare it only with the ceiling beside it, of as many human texts.",
    )


def compare_features(
    coder: Any, generated: Sequence[str], human: Sequence[str], *, seed: int = 25
) -> dict[str, Any]:
    """MAUVE of generated and human text, with human against human as its ceiling.

    The human texts are halved, and as many generated ones are taken, so that both figures rest on as many
    texts.

    Raises:
        UsageError: there are fewer than four human texts.
    """
    if len(human) < 4 or len(generated) < 2:
        raise UsageError(
            f"MAUVE with its ceiling needs 4 human and 2 generated texts; given {len(human)} and "
            f"{len(generated)}."
        )
    rng = np.random.default_rng(seed)
    theirs = features(coder, _documents(human))[rng.permutation(len(human))]
    half = min(len(human) // 2, len(generated))
    one, other = theirs[:half], theirs[half : 2 * half]
    chosen = rng.permutation(len(generated))[:half]
    ours = features(coder, _documents([generated[i] for i in chosen]))
    found, ceiling = mauve(ours, one, seed=seed), mauve(other, one, seed=seed)
    return {
        "value": found.value,
        "ceiling": ceiling.value,
        "texts": half,
        "buckets": found.buckets,
        "warning": found.warning,
    }


def _documents(texts: Sequence[str]) -> list[Document]:
    return [Document(name=str(i), text=text) for i, text in enumerate(texts)]
