"""The learning rate of each step: warm-up, stable, decay (Hu et al. 2024, MiniCPM)."""

import math

from kbit.training.recipe import TrainingPart


def peak_learning_rate(training: TrainingPart, hidden: int) -> float:
    """A rung's own peak: the recipe's, falling with the square root of the width."""
    return training.learning_rate * math.sqrt(training.reference_hidden / hidden)


def learning_rate(
    training: TrainingPart, *, hidden: int, step: int, steps: int, warmup_steps: float | None = None
) -> float:
    """Linear warm-up, then the peak, then linear decay that would reach zero one step after the last.

    Args:
        training: shares and peak.
        hidden: width of the rung.
        step: from 0 to steps - 1.
        steps: steps in all.
        warmup_steps: how many of them rise, where that is not `warmup_share` of them (branches of one run
            share its warm-up).

    >>> part = TrainingPart(learning_rate=1.0, warmup_share=0.2, decay_share=0.4, reference_hidden=64)
    >>> [round(learning_rate(part, hidden=64, step=s, steps=10), 2) for s in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = training.warmup_share * steps if warmup_steps is None else warmup_steps
    decay = training.decay_share * steps
    rising = (step + 1) / warmup if warmup else 1.0
    falling = (steps - step) / decay if decay else 1.0
    return peak_learning_rate(training, hidden) * min(1.0, rising, falling)
