"""`kbit task`: downstream tasks: run, score, examples, files."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.cli.task_items import DATA, ITEMS, DataChoice, ItemChoice, unescaped
from kbit.errors import UsageError

if TYPE_CHECKING:
    from kbit.tasks.item import Item
    from kbit.tasks.raw import Reading
    from kbit.tasks.task import Task

Name = Annotated[str, Parameter(help="A task; `kbit ls tasks` lists them.")]
Limit = Annotated[int | None, Parameter(help="So many items, drawn with --seed.")]


def run(
    name: Name,
    model: Annotated[str, Parameter(help="A model folder, 16-bit or k-bit, or a hub id.")],
    /,
    *,
    choice: ItemChoice = ITEMS,
    limit: Limit = None,
    weight_format: Annotated[
        str | None, Parameter(name="--format", help="Quantise a 16-bit model to this format first.")
    ] = None,
    predictions: Annotated[
        Path | None, Parameter(help="Where answers are kept [predictions/TASK-MODEL-….jsonl].")
    ] = None,
    store: Annotated[str | None, Parameter(help="Write measurements there.")] = None,
    too_long: Annotated[
        Literal["refuse", "cut"], Parameter(help="What becomes of prompts the model cannot read whole.")
    ] = "refuse",
    max_new_tokens: Annotated[int | None, Parameter(help="Of an answer [the task's own].")] = None,
    stop: Annotated[
        list[str] | None, Parameter(help="An answer ends before this; \\n is a new line [a new line].")
    ] = None,
    clusters: Annotated[int | None, Parameter(help="Topics to look for.")] = None,
    run_programs: Annotated[
        bool, Parameter(negative=(), help="Run programs that the model writes, on this machine.")
    ] = False,
    samples: Annotated[int, Parameter(help="Programs for each problem.")] = 10,
    temperature: Annotated[float, Parameter(help="Of the drawing of programs.")] = 0.8,
    time_limit: Annotated[int, Parameter(help="Seconds of processor time a program may take.")] = 5,
    memory_limit: Annotated[int, Parameter(help="MiB of memory a program may take.")] = 512,
    batch_size: Annotated[int | None, Parameter(help="Items read together; changes no figure.")] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], Parameter(help="Numbers of forward passes.")
    ] = "float32",
    resamples: Annotated[int, Parameter(help="How many for an interval.")] = 2000,
    json: JsonFlag = False,
) -> int:
    """Ask a model the items of a task, and judge its answers beside trivial ones."""
    from contextlib import ExitStack

    from kbit.cli.loading import load_both, quantised
    from kbit.cli.task_result import draw, result
    from kbit.tasks import find_task
    from kbit.tasks.items import read_items
    from kbit.tasks.programs import Limits
    from kbit.tasks.run import Asking, run_task

    task = find_task(name)
    if (
        samples < 1
        or resamples < 1
        or choice.seed < 0
        or time_limit < 1
        or memory_limit < 64
        or temperature < 0
    ):
        raise UsageError(
            "--samples, --resamples and --time-limit are 1 or more, --seed and --temperature 0 or more, "
            f"--memory-limit 64 or more; given {samples}, {resamples}, {time_limit}, {choice.seed}, "
            f"{temperature}, {memory_limit}."
        )
    if task.form == "program" and not run_programs:
        raise UsageError(
            f"{name} runs programs that the model writes, on this machine and with your rights. Say "
            "--run-programs if that is what you want."
        )
    how = Asking(
        max_new_tokens=max_new_tokens,
        stop=None if stop is None else tuple(unescaped(s) for s in stop),
        temperature=temperature,
        seed=choice.seed,
        samples=samples,
        too_long=too_long,
        clusters=clusters,
        run_programs=run_programs,
        limits=Limits(seconds=time_limit, memory_mib=memory_limit),
        batch_size=batch_size,
        resamples=resamples,
    )
    reading, paths = choice.reading(limit), choice.paths(task)
    # Data first: what is wrong with it is told before a weight is loaded.
    items, spoken = read_items(task, paths, reading)
    with ExitStack() as stack:
        from kbit.study.folder_subject import folder_subject

        subject = folder_subject(model, dtype=dtype, weight_format=weight_format)
        folder = model if weight_format is None else quantised(stack, model, weight_format)
        loaded, tokenizer = load_both(folder, dtype)
        if getattr(tokenizer, "chat_template", None):
            reading = _with_tokenizer(reading, tokenizer)
            items, spoken = read_items(task, paths, reading)
        asked = {**how.identifying(task), "template": choice.template, "words": sorted(choice.word or ())}
        told = {"model": subject.identifying(), **asked}
        file = predictions or _default_file(task, model, weight_format, told, items)
        begun = time.perf_counter()
        with _progress(task.name) as on_answer:
            ran = run_task(
                task,
                items,
                spoken,
                loaded,
                tokenizer,
                how,
                file=file,
                settings=told,
                on_answer=on_answer,
            )
        wall_s = time.perf_counter() - begun
    out = result(task, ran, spoken) | {
        "model": model,
        "format": subject.labels.format,
        "data": paths,
        "dropped": len(reading.dropped),
        "predictions": file,
        "wall_s": wall_s,
        "settings": asked | {"dtype": dtype, "limit": limit, "seed": choice.seed},
    }
    if reading.dropped:
        talk(f"{len(reading.dropped)} bad records were left out; the first: {reading.dropped[0]}")
    if store is not None:
        out["store"], out["stored_rows"] = (
            store,
            _keep(store, task, ran, subject, _data_name(task, paths), spoken, asked, wall_s),
        )
    return emit(out, json=json, text=lambda console: draw(console, out))


def score(
    name: Name,
    answers: Annotated[Path, Parameter(help="One answer a line, or what `kbit task run` kept.")],
    /,
    *,
    choice: ItemChoice = ITEMS,
    resamples: Annotated[int, Parameter(help="How many for an interval.")] = 2000,
    json: JsonFlag = False,
) -> int:
    """Judge answers that are there already: of another system, or kept from a run."""
    from kbit.cli.task_result import draw, result
    from kbit.tasks import find_task
    from kbit.tasks.items import read_items
    from kbit.tasks.judge import judge
    from kbit.tasks.kept import kept_answers
    from kbit.tasks.run import Ran

    task = find_task(name)
    reading, paths = choice.reading(None), choice.paths(task)
    items, spoken = read_items(task, paths, reading)
    items, given = kept_answers(task, items, answers)
    judged = judge(
        task.metrics, task.baselines, items, given, language=spoken, seed=choice.seed, resamples=resamples
    )
    out = result(task, Ran(items=items, answers=given, judged=judged), spoken) | {
        "answers": answers,
        "data": paths,
        "dropped": len(reading.dropped),
    }
    return emit(out, json=json, text=lambda console: draw(console, out))


def examples(
    name: Name,
    out: Annotated[Path, Parameter(name="--out", help="A .jsonl file for `kbit finetune`.")],
    *,
    choice: ItemChoice = ITEMS,
    limit: Limit = None,
    json: JsonFlag = False,
) -> int:
    """Write a task's items as prompts and completions, asked as `kbit task run` asks them."""
    from kbit.corpus.files import write_whole
    from kbit.tasks import find_task
    from kbit.tasks.items import read_items
    from kbit.tasks.kept import example_lines

    task = find_task(name)
    reading = choice.reading(limit)
    items, spoken = read_items(task, choice.paths(task), reading)
    write_whole(out, example_lines(items))
    told = {
        "examples": len(items),
        "out": out,
        "language": spoken,
        "dropped": len(reading.dropped),
    }
    return emit(
        told, json=json, text=lambda console: console.print(f"{len(items):,} examples in {out}", markup=False)
    )


def files(
    name: Name,
    out: Annotated[Path, Parameter(name="--out", help="A folder for `lm_eval --include_path`.")],
    *,
    choice: DataChoice = DATA,
    limit: Limit = None,
    json: JsonFlag = False,
) -> int:
    """Write a zero-shot task for lm-evaluation-harness itself: YAML and JSON lines."""
    from kbit.tasks import find_task
    from kbit.tasks.harness import harness_name, write_harness_files
    from kbit.tasks.items import read_items

    task = find_task(name)
    if task.harness is None:
        raise UsageError(
            f"{name} is not asked by the harness; its items are written by `kbit task examples`."
        )
    items, _ = read_items(task, choice.paths(task), choice.reading(limit))
    yaml = write_harness_files(task, items, out)
    call = (
        f"kbit lm-eval --model hf --model_args pretrained=MODEL --tasks {harness_name(task)} "
        f"--include_path {out}"
    )
    told = {"items": len(items), "task": harness_name(task), "yaml": yaml, "run": call}
    return emit(told, json=json, text=lambda console: console.print(call, markup=False, soft_wrap=True))


def _with_tokenizer(reading: "Reading", tokenizer: Any) -> "Reading":
    from dataclasses import replace

    return replace(reading, tokenizer=tokenizer, dropped=[])


def _data_name(task: "Task", paths: list[Path]) -> str:
    return f"{task.name}: {'+'.join(path.name for path in paths)}"


def _default_file(
    task: "Task", model: str, weight_format: str | None, told: dict[str, Any], items: "list[Item]"
) -> Path:
    """A name of its own for all that changes an answer, so that runs never meet in one file."""
    from kbit.tasks.item import items_hash
    from kbit.tasks.predictions import settings_key

    key = settings_key({"told": told, "items": items_hash(items)})[:8]
    parts = [task.name, Path(model).name or "model", *([weight_format] if weight_format else []), key]
    return Path("predictions") / ("-".join(parts).replace(":", "_").replace("/", "_") + ".jsonl")


def _progress(name: str) -> Any:
    """A bar on stderr if that is a terminal."""
    import sys
    from contextlib import contextmanager

    @contextmanager
    def bar() -> Any:
        if not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as shown:
            row = shown.add_task(name, total=None)
            yield lambda done, total: shown.update(row, completed=done, total=total)

    return bar()


def _keep(
    store: str,
    task: "Task",
    ran: Any,
    subject: Any,
    data_name: str,
    language: str,
    settings: dict[str, Any],
    wall_s: float,
) -> int:
    import torch

    from kbit.store import Costs, open_store
    from kbit.study.task_rows import task_measurements

    rows = task_measurements(
        task,
        ran,
        subject,
        data_name=data_name,
        language=language,
        settings=settings,
        costs=Costs(wall_s=wall_s, device="cpu", threads=torch.get_num_threads()),
    )
    with open_store(store, create=True) as opened:
        return int(opened.put(rows))
