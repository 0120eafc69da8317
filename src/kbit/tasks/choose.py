"""Bits of what may follow prompts: choices, labels, human replies."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from kbit.coders.logits import LogitReader, evaluating
from kbit.information.resample import Floats
from kbit.tasks.encode import Encoded

LN2 = math.log(2)
BATCH_TOKENS = 4096
VERSION = 1


def choice_bits(
    model: Any, encoded: Sequence[Encoded], *, batch_size: int | None = None
) -> Iterator[list[tuple[Encoded, Floats]]]:
    """Bits of each choice of each item, -log2 of the probability of its tokens after the prompt.

    Choices of one token after one prompt are read off one position, others are read one by one. Items of
    like length go together, padded on the right, so batching changes no more than rounding.

    Args:
        model: a causal language model.
        encoded: items with choices.
        batch_size: sequences read together; by default as many as make 4096 tokens.

    Yields:
        Items of a batch, each with its bits, float64 [choices].
    """
    reader = LogitReader(model)
    order = sorted(encoded, key=lambda e: -_length(e))
    with evaluating(model):
        while order:
            longest, rows, taken = _length(order[0]), 0, 0
            most = batch_size or max(1, BATCH_TOKENS // longest)
            while taken < len(order) and (taken == 0 or rows + len(_rows(order[taken])) <= most):
                rows += len(_rows(order[taken]))
                taken += 1
            batch, order = order[:taken], order[taken:]
            with torch.inference_mode():
                yield list(zip(batch, _batch(reader, batch), strict=True))


def _length(e: Encoded) -> int:
    return len(e.prompt) + max(map(len, e.choices)) - 1


def _rows(e: Encoded) -> list[tuple[int, ...]]:
    """What is read: prompt and all but the last token of a choice, once for each way it goes on."""
    if all(len(choice) == 1 for choice in e.choices):
        return [e.prompt]
    return [e.prompt + choice[:-1] for choice in e.choices]


def _batch(reader: LogitReader, batch: Sequence[Encoded]) -> list[Floats]:
    rows = [row for e in batch for row in _rows(e)]
    longest = max(map(len, rows))
    shape = (len(rows), longest)
    ids, mask, wanted = (np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_))
    targets: list[list[int]] = []  # of each wanted position: the tokens whose bits are asked
    at = 0
    for e in batch:
        ways = _rows(e)
        for number, row in enumerate(ways):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
            wanted[at, len(e.prompt) - 1 : len(row)] = True
            if len(ways) == 1 and len(e.choices[0]) == 1:
                targets.append([choice[0] for choice in e.choices])
            else:
                targets += [[token] for token in e.choices[number]]
            at += 1
    device = reader.model.device
    padding = None if mask.all() else torch.from_numpy(mask).to(device)
    values: list[list[float]] = []
    pieces = reader.pieces(torch.from_numpy(ids).to(device), padding, torch.from_numpy(wanted).to(device))
    for logits in pieces:
        total = logits.logsumexp(dim=1)
        for row, norm in zip(logits, total.tolist(), strict=True):
            asked = targets[len(values)]
            values.append([(norm - float(x)) / LN2 for x in row[torch.tensor(asked, device=row.device)]])
    return _summed(batch, values)


def _summed(batch: Sequence[Encoded], values: Sequence[Sequence[float]]) -> list[Floats]:
    found, at = [], 0
    for e in batch:
        if len(_rows(e)) == 1 and all(len(choice) == 1 for choice in e.choices):
            found.append(np.array(values[at]))
            at += 1
            continue
        bits = []
        for choice in e.choices:
            bits.append(math.fsum(v[0] for v in values[at : at + len(choice)]))
            at += len(choice)
        found.append(np.array(bits))
    return found
