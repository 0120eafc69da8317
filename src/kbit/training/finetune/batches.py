"""Which examples a step sees: a pure function of seed and step, so that a resumed run sees the same.

An epoch's order is drawn from the seed; stretches of it are sorted by length and cut into batches, so that
little is padding, and the batches are shuffled again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kbit.training.finetune.encode import Encoded

POOL_BATCHES = 32
STEP = 16
"""Lengths are rounded up to so many tokens: libraries keep kernels and memory for every shape they saw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Examples side by side, padded on the right. Causal attention does not look there.

    Attributes:
        tokens: int64 [examples, length].
        wanted: bool [examples, length - 1]: whether the token after this one is part of an answer.
        example: int64 [answers' tokens], which example each wanted token belongs to.
        weights: float32 [examples].
    """

    tokens: Tensor
    wanted: Tensor
    example: Tensor
    weights: Tensor

    @property
    def targets(self) -> Tensor:
        """The wanted tokens, in order."""
        return self.tokens[:, 1:][self.wanted]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """How examples follow each other.

    Attributes:
        lengths: tokens of each example.
        labels: class of each example, where classes are to be drawn equally often; else None.
        batch_examples: of a step.
        seed: of the order.
    """

    lengths: tuple[int, ...]
    labels: tuple[str, ...] | None
    batch_examples: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass; the last may be smaller."""
        return -(-len(self.lengths) // self.batch_examples)

    def step(self, step: int) -> list[int]:
        """Numbers of the examples of one step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self.epoch(epoch)[place]

    def epoch(self, epoch: int) -> list[list[int]]:
        """All batches of one pass."""
        generator = np.random.default_rng([self.seed, epoch])
        order = self._drawn(generator)
        pool = POOL_BATCHES * self.batch_examples
        batches = []
        for start in range(0, len(order), pool):
            stretch = sorted(order[start : start + pool], key=lambda i: (self.lengths[i], i))
            batches += [
                stretch[at : at + self.batch_examples] for at in range(0, len(stretch), self.batch_examples)
            ]
        return [batches[i] for i in generator.permutation(len(batches))]

    def _drawn(self, generator: np.random.Generator) -> list[int]:
        count = len(self.lengths)
        if self.labels is None:
            return [int(i) for i in generator.permutation(count)]
        of_class: dict[str, list[int]] = {}
        for number, label in enumerate(self.labels):
            of_class.setdefault(label, []).append(number)
        drawn: list[int] = []
        for rank, label in enumerate(sorted(of_class)):
            members = of_class[label]
            wanted = count // len(of_class) + (rank < count % len(of_class))
            while wanted > 0:  # all of them before any comes again
                part = [members[i] for i in generator.permutation(len(members))[:wanted]]
                drawn += part
                wanted -= len(part)
        return [drawn[i] for i in generator.permutation(len(drawn))]


def class_weights(labels: Sequence[str]) -> dict[str, float]:
    """Weights that give every class the same share of the loss; their mean over the examples is 1.

    >>> class_weights(["a", "a", "a", "b"])
    {'a': 0.666..., 'b': 2.0}
    """
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    return {label: len(labels) / (len(counts) * count) for label, count in counts.items()}


def make_batch(
    examples: Sequence[Encoded], weights: dict[str, float] | None, *, longest: int | None = None
) -> Batch:
    """Lay examples side by side.

    Args:
        examples: one or more.
        weights: of classes; None where all examples count alike.
        longest: tokens the model reads at most.
    """
    length = max(example.length for example in examples)
    # The last token is not read, only predicted.
    rounded = -(-(length - 1) // STEP) * STEP + 1
    length = rounded if longest is None else max(length, min(rounded, longest))
    tokens = np.zeros((len(examples), length), dtype=np.int64)
    answer: npt.NDArray[np.bool_] = np.zeros((len(examples), length), dtype=np.bool_)
    for row, example in enumerate(examples):
        tokens[row, : example.length] = example.tokens
        answer[row, : example.length] = example.answer
    wanted = torch.from_numpy(answer[:, 1:])
    counts = [1.0 if weights is None or e.label is None else weights[e.label] for e in examples]
    return Batch(
        tokens=torch.from_numpy(tokens),
        wanted=wanted,
        example=torch.arange(len(examples))[:, None].expand_as(wanted)[wanted],
        weights=torch.tensor(counts, dtype=torch.float32),
    )
