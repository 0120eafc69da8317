"""Held-out code lengths of a model in training, and what they say about two models.

The same convention as `kbit.coders`: BOS before each document, not scored; every other token scored once,
with at least half a window of context behind it once the document is longer than a window.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from kbit.corpus.document import Document
from kbit.training.loss import LN2


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """One document's code length."""

    name: str
    bits: float
    bytes: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Bits per byte as a ratio of sums, with its standard error over documents."""

    bits_per_byte: float
    standard_error: float
    documents: int


def score(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: Iterable[Document],
    *,
    context: int,
    batch_windows: int = 16,
) -> list[Scored]:
    """Code length of each document in bits.

    Args:
        model: any causal model with the tokenizer's vocabulary.
        tokenizer: one that prefixes BOS.
        documents: held-out text.
        context: tokens of a window; windows advance by half of it.
        batch_windows: windows run at once.
    """
    texts = list(documents)
    encoded = [torch.tensor(tokenizer(d.text, verbose=False)["input_ids"]) for d in texts]
    windows = [
        (i, start, first) for i, ids in enumerate(encoded) for start, first in _windows(len(ids), context)
    ]
    # Long windows together: less padding, and the order changes no figure.
    windows.sort(key=lambda w: -min(context, len(encoded[w[0]]) - 1 - w[1]))
    nats = [0.0] * len(texts)
    model.eval()
    for begin in range(0, len(windows), batch_windows):
        group = windows[begin : begin + batch_windows]
        longest = min(context, len(encoded[group[0][0]]) - 1 - group[0][1])
        inputs = torch.zeros((len(group), longest), dtype=torch.long)
        targets = torch.zeros_like(inputs)
        for row, (i, start, _) in enumerate(group):
            ids = encoded[i][start : start + longest + 1]
            inputs[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
        with torch.no_grad():
            logits = model(input_ids=inputs, use_cache=False).logits.float()
            losses = torch.logsumexp(logits, -1) - logits.gather(2, targets[..., None])[..., 0]
        for row, (i, start, first) in enumerate(group):
            size = min(longest, len(encoded[i]) - 1 - start)
            nats[i] += float(losses[row, first:size].double().sum())
    return [
        Scored(name=d.name, bits=n / LN2, bytes=d.bytes, tokens=len(ids) - 1)
        for d, n, ids in zip(texts, nats, encoded, strict=True)
    ]


def _windows(tokens: int, context: int) -> list[tuple[int, int]]:
    """Starts of windows over `tokens` tokens (BOS among them), and the first target scored in each.

    >>> _windows(5, 8)
    [(0, 0)]
    >>> _windows(14, 8)
    [(0, 0), (4, 4), (8, 4)]
    """
    targets, stride, found, done = tokens - 1, max(context // 2, 1), [], 0
    start = 0
    while done < targets:
        found.append((start, done - start))
        done = min(start + context, targets)
        start += stride
    return found


def rate(scored: Sequence[Scored]) -> Rate:
    """Bits per byte of one model."""
    return _ratio([s.bits for s in scored], [s.bytes for s in scored])


def difference(model: Sequence[Scored], other: Sequence[Scored]) -> Rate:
    """Bits per byte of one model minus those of another, paired over the same documents."""
    pairs = list(zip(model, other, strict=True))
    return _ratio([a.bits - b.bits for a, b in pairs], [a.bytes for a, _ in pairs])


def _ratio(numerators: Sequence[float], denominators: Sequence[int]) -> Rate:
    """Ratio of sums; standard error sqrt(n / (n - 1) sum (x_i - r y_i)^2) / sum y over documents."""
    count, size = len(numerators), sum(denominators)
    ratio = math.fsum(numerators) / size
    squares = math.fsum((x - ratio * y) ** 2 for x, y in zip(numerators, denominators, strict=True))
    error = math.sqrt(count / (count - 1) * squares) / size if count > 1 else math.nan
    return Rate(bits_per_byte=ratio, standard_error=error, documents=count)
