"""What a recipe would take, before anything of it starts: parameters, FLOPs, memory, time."""

import time
from dataclasses import dataclass

import torch

from kbit.training.architecture import config_of, new_model, size_of
from kbit.training.branches import steps_trained, tokens_per_step
from kbit.training.objective import Objective
from kbit.training.recipe import ModelPart, Recipe, Rung
from kbit.training.run import new_optimizer, train_step

PROBE_STEPS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RungPlan:
    """One rung's share; steps, tokens and FLOPs are those of all its branches together."""

    rung: str
    body_parameters: int
    parameters: int
    stored_bytes: int
    steps: int
    tokens: int
    flops: int
    memory_bytes: int
    tokens_per_s: float | None

    @property
    def wall_s(self) -> float | None:
        """Seconds of its own, if its speed was measured."""
        return None if self.tokens_per_s is None else self.tokens / self.tokens_per_s


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyPlan:
    """All rungs, and what they take together."""

    rungs: list[RungPlan]
    jobs: int
    threads: int

    @property
    def flops(self) -> int:
        """Of all trainings."""
        return sum(rung.flops for rung in self.rungs)

    @property
    def stored_bytes(self) -> int:
        """Of all weights in bfloat16."""
        return sum(rung.stored_bytes for rung in self.rungs)

    @property
    def memory_bytes(self) -> int:
        """Of the largest jobs at once; libraries come on top, some 400 MB a job."""
        return sum(sorted((rung.memory_bytes for rung in self.rungs), reverse=True)[: self.jobs])

    @property
    def wall_s(self) -> float | None:
        """Seconds until the last job ends, largest rungs first; None where a speed was not measured."""
        ends = [0.0] * self.jobs
        for rung in sorted(self.rungs, key=lambda rung: -rung.flops):
            if rung.wall_s is None:
                return None
            ends.sort()
            ends[0] += rung.wall_s
        return max(ends)


def plan_family(recipe: Recipe, *, jobs: int, threads: int, measure: bool = True) -> FamilyPlan:
    """Count what a recipe takes.

    Args:
        recipe: what would be trained.
        jobs: rungs at once.
        threads: threads of each.
        measure: time a few steps of each rung on random tokens, with one job running; several at once and
            other work on the machine make it slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rungs = [_rung_plan(rung, recipe, measure) for rung in recipe.rungs]
    finally:
        torch.set_num_threads(before)
    return FamilyPlan(rungs=rungs, jobs=min(jobs, len(rungs)), threads=threads)


def memory_of(rung: Rung, model: ModelPart, *, parameters: int, windows: int) -> int:
    """Bytes of a training job's tensors.

    16 bytes a parameter (weight, gradient, two moments), and for each token of a batch and each layer about
    50 bytes a hidden and 10 an intermediate unit, which is what autograd was seen to keep under autocast.
    """
    activations = windows * model.context * rung.layers * (50 * rung.hidden + 10 * rung.intermediate)
    return 16 * parameters + activations


def _rung_plan(rung: Rung, recipe: Recipe, measure: bool) -> RungPlan:
    size = size_of(rung, recipe.model, recipe.tokenizer.vocabulary)
    steps = steps_trained(rung, recipe)
    tokens = steps * tokens_per_step(recipe)
    return RungPlan(
        rung=rung.name,
        body_parameters=size.body_parameters,
        parameters=size.parameters,
        stored_bytes=size.stored_bytes,
        steps=steps,
        tokens=tokens,
        flops=tokens * size.flops_per_token,
        memory_bytes=memory_of(
            rung, recipe.model, parameters=size.parameters, windows=recipe.training.batch_windows
        ),
        tokens_per_s=_speed(rung, recipe) if measure else None,
    )


def _speed(rung: Rung, recipe: Recipe) -> float:
    """Tokens a second over a few steps, after one that warms up."""
    part, vocabulary = recipe.training, recipe.tokenizer.vocabulary
    config = config_of(rung, recipe.model, vocabulary=vocabulary)
    model = new_model(config, seed=recipe.seed, residual_init=recipe.model.residual_init)
    optimizer = new_optimizer(model, part)
    objective = Objective(model, compiled=part.compile)
    shape = (part.batch_windows * part.accumulation, recipe.model.context + 1)
    batch = torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0))
    started = 0.0
    for step in range(PROBE_STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        train_step(objective, optimizer, batch, part)
    return PROBE_STEPS * tokens_per_step(recipe) / (time.perf_counter() - started)
