"""Is the recipe's learning rate right? A rung trained for a short while at several, all else the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kbit.coders import CodeLengths
from kbit.errors import TrainingError, did_you_mean
from kbit.information import Estimate, bits_per_byte, gain
from kbit.training.branches import runs_of
from kbit.training.evaluate import held_out_lengths
from kbit.training.prepare import prepare
from kbit.training.recipe import Recipe
from kbit.training.run import DivergedError, Step, train_run
from kbit.training.schedule import peak_learning_rate

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
SWEEP = "sweep"
DOCUMENTS = 40
"""Held-out documents a trial is judged by, evenly spread; all where there are fewer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One learning rate.

    Attributes:
        factor: times the recipe's own.
        learning_rate: the peak the rung had.
        bits_per_byte: on the held-out text; None where the training diverged.
        behind_best: bits per byte lost against the best trial, paired over documents; None for the best
            itself and for what diverged.
        reason: why there is no figure.
    """

    factor: float
    learning_rate: float
    bits_per_byte: float | None
    behind_best: Estimate | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The trials in order of their rate, and what they say of the recipe's own."""

    rung: str
    tokens: int
    trials: list[Trial]
    verdict: str


def sweep_learning_rate(
    recipe: Recipe,
    out: Path,
    *,
    rung: str,
    tokens: int,
    factors: Sequence[float] = FACTORS,
    report: Callable[[Step], None] | None = None,
) -> Sweep:
    """Train a rung for `tokens` at multiples of the recipe's learning rate; finished trials are kept.

    Args:
        recipe: its text, model and schedule; the schedule shrinks to the tokens.
        out: the family's folder; trials lie in `out/sweep`.
        rung: name of the rung.
        tokens: of each trial.
        factors: of the recipe's learning rate, 1 among them.
        report: called after each step.

    Raises:
        TrainingError: no such rung, no tokens, or factors without 1.
    """
    rungs = {item.name: item for item in recipe.rungs}
    if rung not in rungs:
        raise TrainingError(f"{recipe.name} has no rung {rung!r}; {did_you_mean(rung, rungs)}")
    if 1.0 not in factors or min(factors) <= 0:
        raise TrainingError(f"factors are {list(factors)}; they must be above 0, and 1 one of them.")
    if tokens < 1:
        raise TrainingError(f"tokens of a trial: {tokens}; give 1 or more.")
    short = replace(rungs[rung], tokens=tokens, branches=())
    prepared = prepare(recipe, out)
    stream, documents = prepared.stream(), prepared.held_out()
    documents = documents[:: max(1, len(documents) // DOCUMENTS)]
    found: dict[float, list[CodeLengths] | str] = {}
    for factor in sorted(factors):
        part = replace(recipe.training, learning_rate=factor * recipe.training.learning_rate)
        trial = replace(recipe, training=part)
        run = replace(runs_of(short, trial)[0], name=f"{rung}-{tokens}-x{factor:g}")
        try:
            trained = train_run(
                run, trial, stream, work=out / SWEEP, text_hash=prepared.training_hash, report=report
            )
        except DivergedError as error:
            found[factor] = str(error)
            continue
        found[factor] = held_out_lengths(
            trained.model.eval(), prepared.tokenizer(), documents, name=run.name, context=prepared.context
        )
    peak = peak_learning_rate(recipe.training, short.hidden)
    trials = judge(found, peak)
    return Sweep(rung=rung, tokens=tokens, trials=trials, verdict=verdict(trials))


def judge(found: Mapping[float, list[CodeLengths] | str], peak: float) -> list[Trial]:
    """Trials from what each factor gave: code lengths of the same documents, or why there are none."""
    good = {factor: lengths for factor, lengths in found.items() if not isinstance(lengths, str)}
    best = min(good, key=lambda factor: bits_per_byte(good[factor]).value, default=None)
    trials = []
    for factor, lengths in found.items():
        rate = factor * peak
        if isinstance(lengths, str):
            trials.append(
                Trial(factor=factor, learning_rate=rate, bits_per_byte=None, behind_best=None, reason=lengths)
            )
            continue
        behind = None if best is None or factor == best else gain(good[best], lengths)
        value = bits_per_byte(lengths).value
        trials.append(Trial(factor=factor, learning_rate=rate, bits_per_byte=value, behind_best=behind))
    return trials


def verdict(trials: Sequence[Trial]) -> str:
    """What the trials say of the recipe's own learning rate, factor 1."""
    best = next((t for t in trials if t.bits_per_byte is not None and t.behind_best is None), None)
    own = next(trial for trial in trials if trial.factor == 1.0)
    if best is None:
        return "every trial diverged: lower training.learning_rate"
    behind = own.behind_best
    if best is own:
        said = "the recipe's learning rate is the best of these"
    elif behind is not None and behind.low is not None and behind.low <= 0:
        said = f"the recipe's learning rate cannot be told from the best of these (x{best.factor:g})"
    else:
        said = f"x{best.factor:g} is better than the recipe's learning rate"
    if len(trials) > 1 and best in (trials[0], trials[-1]):
        said += "; the best lies at the edge, so try further"
    return said
