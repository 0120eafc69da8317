"""`kbit finetune`: teach a model a task from examples."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.training.finetune import Start, TuningStep

MIB = 2**20


def finetune(
    model: Annotated[str, Parameter(help="A 16-bit or k-bit model: a folder, a hub id or ladder:rung-7.")],
    /,
    *,
    data: Annotated[
        list[Path], Parameter(consume_multiple=True, help="Examples to learn, .jsonl or tables.")
    ],
    out: Annotated[Path, Parameter(help="The folder to write.")],
    task: Annotated[
        str | None, Parameter(help="What the examples are of, as kbit ls tasks lists it: checks their form.")
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        Parameter(consume_multiple=True, help="Examples that decide when to stop; else a share of --data."),
    ] = None,
    held_out_share: Annotated[float, Parameter(help="That share.")] = 0.1,
    recipe: Annotated[
        Path | None, Parameter(help="Settings from a TOML file; options given here stand over it.")
    ] = None,
    method: Annotated[
        Literal["lora", "full"] | None, Parameter(help="Small matrices beside frozen layers, or all. [lora]")
    ] = None,
    rank: Annotated[int | None, Parameter(help="Of LoRA's matrices. [16]")] = None,
    alpha: Annotated[float | None, Parameter(help="Their scale, over the rank. [32]")] = None,
    dropout: Annotated[float | None, Parameter(help="Of their inputs. [0]")] = None,
    epochs: Annotated[float | None, Parameter(help="Passes over the examples. [3]")] = None,
    batch_examples: Annotated[int | None, Parameter(help="Examples of a step. [16]")] = None,
    accumulation: Annotated[
        int | None, Parameter(help="Parts a step is done in, to save memory. [1]")
    ] = None,
    learning_rate: Annotated[float | None, Parameter(help="The highest. [1e-3]")] = None,
    weight_decay: Annotated[float | None, Parameter(help="Of trained matrices. [0]")] = None,
    precision: Annotated[Literal["bf16", "fp32"] | None, Parameter(help="Of products. [bf16]")] = None,
    imbalance: Annotated[
        Literal["none", "weights", "sampling", "focal"] | None,
        Parameter(help="What is done about rare classes. [none]"),
    ] = None,
    longest_tokens: Annotated[
        int | None, Parameter(help="Of an example, its answer among it. [the model's context]")
    ] = None,
    too_long: Annotated[
        Literal["error", "cut", "drop"] | None, Parameter(help="What is done with longer ones. [error]")
    ] = None,
    patience: Annotated[
        int | None, Parameter(help="Looks without a better held-out loss before it stops; 0: never. [3]")
    ] = None,
    seed: Annotated[int | None, Parameter(help="Of order, matrices and dropout. [0]")] = None,
    merge: Annotated[
        bool, Parameter(negative=(), help="Write a whole model, the adapter merged into its weights.")
    ] = False,
    weight_format: Annotated[
        str | None, Parameter(name="--format", help="Quantise that model to this, such as nf4:b64.")
    ] = None,
    threads: Annotated[int | None, Parameter(help="Of the products. [the machine's]")] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace what is at --out.")] = False,
    json: JsonFlag = False,
) -> int:
    """Teach a model a task from examples. What was begun is resumed, what is finished is kept."""
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; give at least 1.")
    said = {
        "method": method, "rank": rank, "alpha": alpha, "dropout": dropout, "epochs": epochs,
        "batch_examples": batch_examples, "accumulation": accumulation, "learning_rate": learning_rate,
        "weight_decay": weight_decay, "precision": precision, "imbalance": imbalance,
        "longest_tokens": longest_tokens, "too_long": too_long, "patience": patience, "seed": seed,
    }  # fmt: skip
    from kbit.corpus.examples import read_examples
    from kbit.training.finetune import held_out_share as part
    from kbit.training.finetune import read_tuning

    tuning = read_tuning(recipe, said)
    if weight_format is not None and not (merge or tuning.method == "full"):
        raise UsageError("--format says how a whole model is written: give --merge too, or leave it out.")
    if weight_format is not None:
        from kbit.formats import parse_format

        parse_format(weight_format)
    form = None if task is None else _form(task)
    examples = read_examples(data, form=form)
    watched = (
        None if held_out is None else read_examples(held_out, form=examples[0].form, labels=_labels(examples))
    )
    if watched is None:
        examples, watched = part(examples, held_out_share)

    import torch

    from kbit.training.finetune import finetune as train

    if threads is not None:
        torch.set_num_threads(threads)
    with _progress() as report:
        tuned = train(
            model,
            examples,
            watched,
            tuning,
            out,
            merge=merge,
            weight_format=weight_format,
            overwrite=overwrite,
            report=report,
            told=_tell_start,
        )
    written = {"out": tuned.out, "done_before": tuned.done_before, "task": task, **tuned.record}
    return emit(written, json=json, text=lambda console: _draw(console, written))


def _form(task: str) -> Any:
    """The form of a task's examples."""
    from kbit.tasks.table import find_task

    forms = {"write": "completion", "reply": "chat", "label": "label"}
    form = find_task(task).form
    if form not in forms:
        raise UsageError(
            f"{task} is asked without training. Tasks to train for: those that kbit ls tasks lists as "
            f"{', '.join(forms)}."
        )
    return forms[form]


def _labels(examples: list[Any]) -> tuple[str, ...] | None:
    """Labels that held-out examples may have; None where examples have none."""
    found = sorted({example.label for example in examples if example.label is not None})
    return tuple(found) or None


def _tell_start(start: "Start") -> None:
    memory = start.memory
    talk(
        f"{start.steps} steps on {start.trained_parameters:,} weights; "
        f"memory {memory.total_bytes / MIB:,.0f} MiB: model {memory.model_bytes / MIB:,.0f}, "
        f"gradients and moments {memory.trained_bytes / MIB:,.0f}, "
        f"activations {memory.activation_bytes / MIB:,.0f}; the libraries' own come on top"
    )
    if start.cut or start.dropped:
        talk(f"too long: {start.cut} examples cut, {start.dropped} left out")


@contextmanager
def _progress() -> Iterator["Callable[[TuningStep], None]"]:
    """A bar if stderr is a terminal; else a line for each look at the held-out examples."""
    if not sys.stderr.isatty():

        def tell(step: "TuningStep") -> None:
            if step.held_out_loss is not None:
                talk(
                    f"step {step.step + 1} of {step.steps}, loss {step.loss_nats:.4f}, "
                    f"held out {step.held_out_loss:.4f}, {step.tokens_per_s:,.0f} tokens/s"
                )

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        row = bars.add_task("fine-tuning", total=None, state="")
        held = ""

        def advance(step: "TuningStep") -> None:
            nonlocal held
            if step.held_out_loss is not None:
                held = f", held out {step.held_out_loss:.4f}"
            state = f"loss {step.loss_nats:.4f}{held}, {step.tokens_per_s:,.0f} tokens/s"
            bars.update(row, total=step.steps, completed=step.step + 1, state=state)

        yield advance


def _draw(console: "Console", data: dict[str, Any]) -> None:
    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    held, tuning = data["held_out"], data["tuning"]
    kind = "adapter" if tuning["method"] == "lora" and not data["merge"] else "model"
    written = kind + (f" at {data['format']}" if data["format"] else "")
    say(f"{data['out']}: {written}" + (" (done before)" if data["done_before"] else ""), style="bold")
    stopped = "" if data["steps"] == data["planned_steps"] else f" of {data['planned_steps']} (stopped early)"
    say(
        f"{data['examples']:,} examples, {data['steps']} steps{stopped}, best at {data['best_step']}; "
        f"{data['trained_parameters']:,} weights trained in {data['wall_s']:.0f} s"
    )
    interval = held["gain_ci95"]
    told = "" if interval is None else f" (95% {interval[0]:.4f} to {interval[1]:.4f})"
    say(
        f"{held['examples']} held-out answers: {held['bits_per_byte_before']:.4f} bits/byte before, "
        f"{held['bits_per_byte']:.4f} after, a gain of {held['gain_bits_per_byte']:.4f}{told}"
    )
    say(
        f"every token right, given those before it: {held['exact_before']:.1%} before, "
        f"{held['exact']:.1%} after"
    )
    say(
        f"memory: {data['memory']['total_bytes'] / MIB:,.0f} MiB of tensors counted before the start, "
        f"{data['peak_bytes'] / MIB:,.0f} MiB measured above what the loaded model took"
    )
