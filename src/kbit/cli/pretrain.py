"""`kbit pretrain`: train a family of models from a recipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.training import FamilyPlan, Recipe, Step, Sweep


def pretrain(
    recipe: Annotated[Path, Parameter(help="A TOML file, such as recipes/tiny-ladder.toml.")],
    *,
    out: Annotated[Path | None, Parameter(help="The family's folder [runs/NAME].")] = None,
    only: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="Train these rungs, not all.")
    ] = None,
    jobs: Annotated[int | None, Parameter(help="Rungs trained at once [one a core].")] = None,
    threads: Annotated[int | None, Parameter(help="Threads of each job [the cores, shared out].")] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Say what it takes, time a few steps, and stop.")
    ] = False,
    sweep: Annotated[
        str | None, Parameter(help="Check the learning rate on this rung at several, and stop.")
    ] = None,
    sweep_tokens: Annotated[int, Parameter(help="Tokens of each trial of a sweep.")] = 1_000_000,
    json: JsonFlag = False,
) -> int:
    """Train a family of models from a recipe. What was begun is resumed, what is finished is kept."""
    for name, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; give at least 1.")
    from kbit.training import family_json, plan_family, read_recipe, sharing, speaks
    from kbit.training import pretrain as train

    wanted = read_recipe(recipe)
    jobs, threads = sharing(wanted, only=only or (), jobs=jobs, threads=threads)
    if dry_run:
        planned = plan_family(wanted, jobs=jobs, threads=threads)
        return emit(_plan_json(wanted, planned), json=json, text=lambda c: _draw_plan(c, planned))
    folder = Path("runs") / wanted.name if out is None else out
    if sweep is not None:
        return _sweep(wanted, folder, sweep, sweep_tokens, threads, json)
    talk(f"Preparing text and tokeniser in {folder} …")
    with _progress(wanted) as report:
        family = train(wanted, folder, only=only or (), jobs=jobs, threads=threads, report=report)
    if not speaks():  # one of several processes, and not the first
        return 0
    data = {"recipe": wanted.name, "recipe_hash": wanted.hash, "out": folder, **family_json(family)}
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _sweep(recipe: "Recipe", folder: Path, rung: str, tokens: int, threads: int | None, json: bool) -> int:
    from dataclasses import asdict

    import torch

    from kbit.training import sweep_learning_rate

    if threads is not None:
        torch.set_num_threads(threads)
    with _progress(recipe) as report:
        found = sweep_learning_rate(recipe, folder, rung=rung, tokens=tokens, report=report)
    return emit(asdict(found), json=json, text=lambda console: _draw_sweep(console, found))


def _draw_sweep(console: "Console", found: "Sweep") -> None:
    from rich.table import Table

    table = Table("learning rate", box=None, header_style="bold", pad_edge=False)
    for column in ("times the recipe's", "held-out bits/byte", "behind the best (95%)"):
        table.add_column(column, justify="right")
    for trial in found.trials:
        behind = trial.behind_best
        interval = None if behind is None else behind.ci95
        table.add_row(
            f"{trial.learning_rate:.3g}",
            f"{trial.factor:g}",
            "diverged" if trial.bits_per_byte is None else f"{trial.bits_per_byte:.4f}",
            ""
            if behind is None
            else f"{behind.value:.4f}"
            + ("" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})"),
        )
    console.print(table)
    console.print(f"{found.rung}, {found.tokens:,} tokens each: {found.verdict}.", soft_wrap=True)


def _plan_json(recipe: "Recipe", planned: "FamilyPlan") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "jobs": planned.jobs,
        "threads": planned.threads,
        "flops": planned.flops,
        "stored_bytes": planned.stored_bytes,
        "memory_bytes": planned.memory_bytes,
        "wall_s": planned.wall_s,
        "rungs": [asdict(rung) | {"wall_s": rung.wall_s} for rung in planned.rungs],
    }


def _draw_plan(console: "Console", planned: "FamilyPlan") -> None:
    from rich.table import Table

    table = Table("rung", box=None, header_style="bold", pad_edge=False)
    for column in ("body", "parameters", "tokens", "FLOPs", "memory", "tokens/s", "time"):
        table.add_column(column, justify="right")
    for rung in planned.rungs:
        table.add_row(
            rung.rung,
            f"{rung.body_parameters:,}",
            f"{rung.parameters:,}",
            f"{rung.tokens:,}",
            f"{rung.flops:.2e}",
            f"{rung.memory_bytes / 2**20:,.0f} MiB",
            "–" if rung.tokens_per_s is None else f"{rung.tokens_per_s:,.0f}",
            _clock(rung.wall_s),
        )
    console.print(table)
    console.print(
        f"In all {planned.flops:.2e} FLOPs, {planned.stored_bytes / 1e6:.1f} MB of weights, "
        f"{planned.memory_bytes / 2**20:,.0f} MiB of tensors at once; about {_clock(planned.wall_s)} "
        f"with {planned.jobs} jobs of {planned.threads} threads."
    )


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _draw(console: "Console", data: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("rung", box=None, header_style="bold", pad_edge=False)
    for column in ("body parameters", "tokens", "held-out bits/byte", "gain over the one before"):
        table.add_column(column, justify="right")
    gains = {pair["larger"]: pair for pair in data["neighbours"]}
    for record in data["rungs"]:
        pair = gains.get(record["rung"])
        gain = "" if pair is None else f"{pair['gain_bits_per_byte']:.4f}"
        if pair is not None and pair["standard_errors"] is not None:
            gain += f" ({pair['standard_errors']:.1f} s.e.)"
        table.add_row(
            record["rung"],
            f"{record['body_parameters']:,}",
            f"{record['tokens']:,}",
            f"{record['held_out_bits_per_byte']:.4f}",
            gain,
        )
    console.print(table)
    console.print(f"The family: {data['out']}", markup=False, soft_wrap=True)


@contextmanager
def _progress(recipe: "Recipe") -> Iterator["Callable[[Step], None]"]:
    """A bar for each rung if stderr is a terminal; else a line for each tenth of a rung."""
    if not sys.stderr.isatty():

        def tell(step: "Step") -> None:
            if step.step + 1 == step.steps or (step.step + 1) % max(1, step.steps // 10) == 0:
                talk(
                    f"{step.rung}: step {step.step + 1} of {step.steps}, "
                    f"loss {step.loss_nats:.3f} nats, {step.tokens_per_s:,.0f} tokens/s, "
                    f"{step.share_of_peak:.0%} of peak"
                )

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def advance(step: "Step") -> None:
            if step.rung not in tasks:
                tasks[step.rung] = bars.add_task(step.rung, total=step.steps, state="")
            state = f"{step.loss_nats:.3f} nats, {step.tokens_per_s:,.0f} tokens/s"
            bars.update(tasks[step.rung], completed=step.step + 1, state=state)

        yield advance
