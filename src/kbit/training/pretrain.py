"""Train a family: its text, its tokeniser, then its rungs, several at a time if asked."""

import json
import multiprocessing
import platform
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

from kbit.coders import CodeLengths
from kbit.errors import TrainingError, did_you_mean
from kbit.information import bits_per_byte
from kbit.training.architecture import size_of
from kbit.training.branches import Run, runs_of, steps_trained
from kbit.training.checkpoint import write_text
from kbit.training.evaluate import (
    Neighbours,
    compare_neighbours,
    held_out_lengths,
    read_lengths,
    write_lengths,
)
from kbit.training.export import RECORD, export_rung, quiet, read_record
from kbit.training.prepare import Prepared, prepare
from kbit.training.processes import Processes, processes
from kbit.training.recipe import Recipe, Rung
from kbit.training.run import ALONE, Step, run_identity, train_run

FAMILY, RUNS, LENGTHS = "family.json", "runs", "held-out-bits.jsonl"
Record = dict[str, Any]
Report = Callable[[Step], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """The trained runs, smallest first, and how neighbours differ on the held-out text.

    Neighbours are the branches of one rung, and the longest finished runs of one rung and the next.
    """

    folder: Path
    records: list[Record]
    neighbours: list[Neighbours]


def pretrain(
    recipe: Recipe,
    out: Path,
    *,
    only: Sequence[str] = (),
    jobs: int | None = None,
    threads: int | None = None,
    report: Report | None = None,
) -> Family:
    """Train the rungs of a recipe into `out/<rung>`; finished ones are kept, begun ones resumed.

    Args:
        recipe: what to train.
        out: a folder of this recipe's own; checkpoints and logs lie in `out/runs/<rung>`.
        only: names of rungs (all their branches) or of single branches; none means all.
        jobs: rungs trained at once, each in a process of its own, largest first; by default one a core. On a
            machine that does other work too, jobs of one thread go much further than one job of several.
        threads: threads of each job; by default the machine's, shared out. Another number rounds sums in
            another order: losses then agree closely, not to the last bit.
        report: called after each step.

    Returns:
        The family as it now stands; also written to `out/family.json`.

    Raises:
        TrainingError: a name in `only` is unknown, or a rung fails; the others are finished first.
    """
    group = processes()
    jobs, threads = sharing(recipe, only=only, jobs=1 if group.count > 1 else jobs, threads=threads)
    chosen = [rung for rung in recipe.rungs if _wanted(rung, recipe, only)]
    prepared = _prepare_once(recipe, out, group)
    if jobs == 1:
        for rung in chosen:
            finish_rung(rung, recipe, prepared, threads, only, report, group)
    else:
        _finish_several(chosen, recipe, prepared, jobs, threads, only, report)
    family = _family(recipe, prepared)
    if group.main:
        write_text(out / FAMILY, json.dumps(family_json(family), indent=2) + "\n")
    return family


def _prepare_once(recipe: Recipe, out: Path, group: Processes) -> Prepared:
    """The first process prepares; the others find it done."""
    if not group.main:
        group.wait()
    prepared = prepare(recipe, out)
    if group.main:
        group.wait()
    return prepared


def sharing(
    recipe: Recipe, *, only: Sequence[str] = (), jobs: int | None = None, threads: int | None = None
) -> tuple[int, int]:
    """Jobs, and threads of each: one job a core unless told otherwise, and no more jobs than rungs.

    Raises:
        TrainingError: a name in `only` is no rung.
    """
    names = [name for rung in recipe.rungs for name in _names(rung, recipe)]
    for name in only:
        if name not in names:
            raise TrainingError(f"{recipe.name} has no rung {name!r}; {did_you_mean(name, names)}")
    cores = torch.get_num_threads()
    jobs = min(sum(bool(_wanted(rung, recipe, only)) for rung in recipe.rungs), jobs or cores)
    return jobs, threads or max(1, cores // jobs)


def _names(rung: Rung, recipe: Recipe) -> list[str]:
    return [run.name for run in runs_of(rung, recipe)]


def _wanted(rung: Rung, recipe: Recipe, only: Sequence[str]) -> list[Run]:
    """The runs of a rung that are asked for; the rung's own name asks for its branches too."""
    return [run for run in runs_of(rung, recipe) if not only or {run.name, rung.name}.intersection(only)]


def finish_rung(
    rung: Rung,
    recipe: Recipe,
    prepared: Prepared,
    threads: int,
    only: Sequence[str] = (),
    report: Report | None = None,
    group: Processes = ALONE,
) -> None:
    """Train, export and evaluate the runs of one rung, fewest tokens first, unless that is done."""
    torch.set_num_threads(threads)
    for run in _wanted(rung, recipe, only):
        _finish_run(run, recipe, prepared, threads, report, group)
        group.wait()


def _finish_run(
    run: Run, recipe: Recipe, prepared: Prepared, threads: int, report: Report | None, group: Processes
) -> None:
    rung, folder, work = run.rung, prepared.folder / run.name, prepared.folder / RUNS / run.name
    identity = run_identity(run, recipe, prepared.training_hash)
    record = read_record(folder)
    if record is None or record["run"] != identity:
        if group.main:
            (work / LENGTHS).unlink(missing_ok=True)
        trained = train_run(
            run,
            recipe,
            prepared.stream(),
            work=prepared.folder / RUNS,
            text_hash=prepared.training_hash,
            report=report,
            group=group,
        )
        if not group.main:
            return
        size = size_of(rung, recipe.model, recipe.tokenizer.vocabulary)
        record = {
            "rung": run.name,
            "recipe": recipe.name,
            "recipe_hash": recipe.hash,
            "run": identity,
            "seed": recipe.seed,
            "body_parameters": size.body_parameters,
            "parameters": size.parameters,
            "steps": trained.steps,
            "tokens": trained.tokens,
            "flops": size.flops_per_token * trained.tokens,
            "wall_s": round(trained.wall_s, 1),
            "peak_flops_per_s": round(trained.peak_flops_per_s),
            "processes": group.count,
            "threads": threads,
            "prequential_bits_per_byte": trained.prequential_bits_per_byte,
            "training_text_hash": prepared.training_hash,
            "training_bytes": prepared.training_bytes,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        }
        export_rung(folder, model=trained.model, tokenizer=prepared.tokenizer(), record=record)
    if group.main and not (work / LENGTHS).exists():
        _evaluate(folder, work, record, prepared)


def _evaluate(folder: Path, work: Path, record: Record, prepared: Prepared) -> None:
    """Measure what was written: weights in bfloat16, arithmetic in float32."""
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    lengths = held_out_lengths(
        model, prepared.tokenizer(), prepared.held_out(), name=folder.name, context=prepared.context
    )
    found = bits_per_byte(lengths)
    record |= {
        "held_out_text_hash": prepared.held_out_hash,
        "held_out_documents": len(lengths),
        "held_out_bytes": sum(item.bytes for item in lengths),
        "held_out_bits": sum(item.bits for item in lengths),
        "held_out_bits_per_byte": found.value,
        "held_out_standard_error": found.standard_error,
    }
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    work.mkdir(parents=True, exist_ok=True)
    write_lengths(work / LENGTHS, lengths)


def _family(recipe: Recipe, prepared: Prepared) -> Family:
    """What is finished by now."""
    records: list[Record] = []
    neighbours: list[Neighbours] = []
    ends: list[tuple[str, list[CodeLengths]]] = []
    for rung in recipe.rungs:
        lengths: list[tuple[str, list[CodeLengths]]] = []
        for name in _names(rung, recipe):
            record = read_record(prepared.folder / name)
            found = read_lengths(prepared.folder / RUNS / name / LENGTHS)
            if record is not None and found is not None:
                records.append(record)
                lengths.append((name, found))
        neighbours += compare_neighbours(lengths)
        ends += lengths[-1:]
    return Family(folder=prepared.folder, records=records, neighbours=neighbours + compare_neighbours(ends))


def family_json(family: Family) -> Record:
    """A family as `family.json` and `kbit pretrain --json` have it."""
    return {
        "rungs": family.records,
        "neighbours": [
            {
                "smaller": pair.smaller,
                "larger": pair.larger,
                "gain_bits_per_byte": pair.gain_bits_per_byte,
                "standard_error": pair.standard_error,
                "standard_errors": pair.standard_errors,
            }
            for pair in family.neighbours
        ],
    }


def _finish_several(
    chosen: Sequence[Rung],
    recipe: Recipe,
    prepared: Prepared,
    jobs: int,
    threads: int,
    only: Sequence[str],
    report: Report | None,
) -> None:
    """Finish rungs in processes of their own, largest first; raise what failed once all have ended."""
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")
    steps: Queue[Step | None] = context.Queue()
    teller = threading.Thread(target=_tell, args=(steps, report), daemon=True)
    teller.start()
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_use, initargs=(steps,)) as pool:
            costs = {
                rung.name: steps_trained(rung, recipe)
                * size_of(rung, recipe.model, recipe.tokenizer.vocabulary).flops_per_token
                for rung in chosen
            }
            futures = {
                pool.submit(_finish_in_worker, rung, recipe, prepared, threads, only): rung.name
                for rung in sorted(chosen, key=lambda rung: -costs[rung.name])
            }
            for future in as_completed(futures):
                try:
                    future.result()
                except TrainingError as error:
                    failures.append(str(error))
                except BrokenProcessPool:
                    failures.append(
                        f"{futures[future]}: its process was ended from outside (out of memory?). "
                        "Run the same command again to resume; fewer --jobs need less memory."
                    )
    finally:
        steps.put(None)
        teller.join()
    if failures:
        raise TrainingError("\n".join(failures))


# The queue to the parent, in a worker: what a process pool hands over through its initializer.
_steps: "Queue[Step | None] | None" = None


def _use(steps: "Queue[Step | None]") -> None:
    global _steps
    _steps = steps


def _finish_in_worker(
    rung: Rung, recipe: Recipe, prepared: Prepared, threads: int, only: Sequence[str]
) -> None:
    finish_rung(rung, recipe, prepared, threads, only, _steps.put if _steps is not None else None)


def _tell(steps: "Queue[Step | None]", report: Report | None) -> None:
    while (step := steps.get()) is not None:
        if report is not None:
            report(step)
