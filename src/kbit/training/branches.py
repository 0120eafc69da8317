"""The runs of a rung: one for each token count, all decayed from one stable run.

Warm-up and the stable part of a run do not know where it will end, so runs of several token counts share
them: the trunk is trained once, and each count's decay branches off it (Hu et al. 2024, section 4.3).
"""

from dataclasses import dataclass

from kbit.training.recipe import Recipe, Rung


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One trained model: a rung at one token count.

    Attributes:
        name: its folder: the rung's name, with the token count for all but the largest.
        rung: which model.
        tokens: as the recipe asks for them.
        steps: whole steps that reach them, at least one.
        warmup_steps: of the rung's shortest run; all its runs share them.
        decay_start: the first step whose learning rate falls.
        branched: whether other runs share its trunk.
    """

    name: str
    rung: Rung
    tokens: int
    steps: int
    warmup_steps: float
    decay_start: int
    branched: bool


def tokens_per_step(recipe: Recipe) -> int:
    """Tokens whose loss one step of the optimiser sees."""
    part = recipe.training
    return part.batch_windows * part.accumulation * recipe.model.context


def runs_of(rung: Rung, recipe: Recipe) -> list[Run]:
    """The runs of a rung, fewest tokens first."""
    counts = [*rung.branches, rung.tokens]
    part = recipe.training
    steps = [max(1, round(count / tokens_per_step(recipe))) for count in counts]
    return [
        Run(
            name=rung.name if count == rung.tokens else f"{rung.name}-{short_count(count)}",
            rung=rung,
            tokens=count,
            steps=number,
            warmup_steps=part.warmup_share * steps[0],
            decay_start=number - int(part.decay_share * number),
            branched=bool(rung.branches),
        )
        for count, number in zip(counts, steps, strict=True)
    ]


def steps_trained(rung: Rung, recipe: Recipe) -> int:
    """Steps that all runs of a rung take together: the largest one's, and the decays of the others."""
    runs = runs_of(rung, recipe)
    return runs[-1].steps + sum(run.steps - run.decay_start for run in runs[:-1])


def short_count(tokens: int) -> str:
    """A token count as it stands in a name.

    >>> [short_count(count) for count in (800, 64_000, 12_500_000, 2_000_000_000)]
    ['800', '64k', '12.5M', '2G']
    """
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"{tokens / size:.6g}{letter}"
    return str(tokens)
