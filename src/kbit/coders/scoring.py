"""Runs windows of many documents through a model in batches, and puts the figures back by token.

Windows of like length go together, short ones padded on the right: a causal model's figure at a position
does not depend on what follows, and padding is masked, so batching changes no more than rounding.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kbit.coders.tokens import Tokenised
from kbit.coders.windows import Window, WindowPlan

Floats = NDArray[np.float64]
BATCH_TOKENS = 4096
BATCHES_HELD = 16
# Kernels for bfloat16 (oneDNN's) are generated and kept for every length they meet, 1.6 MiB each even for
# a small model. Lengths are padded to a multiple of this there: a text of any size then meets few of them.
LENGTH_STEP = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowBatch:
    """What a model is given, and what it is asked."""

    ids: Tensor
    """int64 [windows, length], padded on the right."""
    mask: Tensor | None
    """1 for a token, 0 for padding, [windows, length]; None where no window is shorter than another."""
    scored: Tensor
    """bool [windows, length]: positions whose next token is scored here."""
    targets: Tensor
    """int64 [scored positions]: those next tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """How a document's tokens reach the model.

    Attributes:
        plan: how documents are cut.
        prefix: the token before a document.
        repeat_prefix: whether every further window begins with the prefix too, or with the token that
            stands before it in the document.
        size: windows in a batch; None for as many as make about 4096 tokens.
        length_step: windows are padded to a multiple of so many tokens; see `length_step`.
        device: where the model is.
    """

    plan: WindowPlan
    prefix: int
    repeat_prefix: bool
    size: int | None
    device: torch.device
    length_step: int = 1

    def head(self, document: Tokenised, window: Window) -> int:
        """The token a window begins with, before its own."""
        if window.start == 0 or self.repeat_prefix:
            return self.prefix
        return document.ids[window.start - 1]


def length_step(*dtypes: torch.dtype) -> int:
    """What lengths of windows are padded to a multiple of: 1 (exact to the last bit) where all is float32."""
    return 1 if all(dtype == torch.float32 for dtype in dtypes) else LENGTH_STEP


@dataclass(slots=True)
class _Open:
    """A document whose windows are not all done."""

    document: Tokenised
    values: Floats
    left: int = field(default=0)


def token_values(
    documents: Iterable[Tokenised],
    batching: Batching,
    evaluate: Callable[[WindowBatch], Floats],
    columns: int,
) -> Iterator[tuple[Tokenised, Floats]]:
    """Evaluate every token of every document once.

    Args:
        documents: read as windows are needed; about 65,000 tokens are held at once, and the document that
            is being read.
        batching: windows, prefix, size of batches.
        evaluate: gives [scored positions, columns] for a batch.
        columns: figures for each token.

    Yields:
        Each document, in order, with its figures: float64 [tokens, columns].
    """
    held: list[tuple[_Open, Window]] = []
    waiting: deque[_Open] = deque()
    most = BATCHES_HELD * max(BATCH_TOKENS, batching.plan.context * (batching.size or 1))
    tokens_held = 0
    for document in documents:
        item = _Open(document, np.full((len(document.ids), columns), np.nan))
        waiting.append(item)
        for window in batching.plan.windows(len(document.ids)):
            item.left += 1
            held.append((item, window))
            tokens_held += window.length
            if tokens_held >= most:
                _run(held, batching, evaluate)
                held, tokens_held = [], 0
        yield from _finished(waiting)
    _run(held, batching, evaluate)
    yield from _finished(waiting)


def _finished(waiting: deque[_Open]) -> Iterator[tuple[Tokenised, Floats]]:
    while waiting and waiting[0].left == 0:
        item = waiting.popleft()
        yield item.document, item.values


def _run(
    held: list[tuple[_Open, Window]], batching: Batching, evaluate: Callable[[WindowBatch], Floats]
) -> None:
    held = sorted(held, key=lambda entry: -entry[1].length)
    while held:
        longest = held[0][1].length
        size = batching.size or max(1, BATCH_TOKENS // longest)
        group, held = held[:size], held[size:]
        with torch.inference_mode():
            figures = evaluate(_batch(group, batching))
        at = 0
        for item, window in group:
            scored = window.end - window.scored_from
            item.values[window.scored_from : window.end] = figures[at : at + scored]
            item.left -= 1
            at += scored


def _batch(group: list[tuple[_Open, Window]], batching: Batching) -> WindowBatch:
    longest = group[0][1].length
    length = min(-(-longest // batching.length_step) * batching.length_step, batching.plan.context)
    shape = (len(group), length)
    ids, mask = np.full(shape, batching.prefix, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    scored = np.zeros(shape, dtype=np.bool_)
    targets: list[int] = []
    for row, (item, window) in enumerate(group):
        tokens = item.document.ids[window.start : window.end]
        ids[row, 0] = batching.head(item.document, window)
        ids[row, 1 : len(tokens)] = tokens[:-1]
        mask[row, : len(tokens)] = 1
        scored[row, window.scored_from - window.start : len(tokens)] = True
        targets += tokens[window.scored_from - window.start :]
    device = batching.device
    return WindowBatch(
        ids=torch.from_numpy(ids).to(device),
        # Windows of one length need no mask: what is scored stands before all padding.
        mask=None if mask[:, :longest].all() else torch.from_numpy(mask).to(device),
        scored=torch.from_numpy(scored).to(device),
        targets=torch.tensor(targets, device=device),
    )
