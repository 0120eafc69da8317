"""Train a family: its text, its tokeniser, then its rungs, several at a time if asked."""

import multiprocessing
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from kbit.corpus.deduplicate import deduplicate
from kbit.corpus.document import Document, content_hash
from kbit.corpus.read import read_documents, write_documents
from kbit.corpus.split import Split, split_by_hash
from kbit.corpus.stdlib import stdlib_split
from kbit.errors import TrainingError, did_you_mean
from kbit.training.architecture import size_of
from kbit.training.evaluate import rate, score
from kbit.training.export import export_rung, read_record
from kbit.training.pack import Stream, pack
from kbit.training.recipe import Recipe, Rung
from kbit.training.run import Step, run_identity, train_rung
from kbit.training.tokenizer import load_tokenizer, train_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What all rungs of a family read: where it lies, and the hash of the training text."""

    folder: Path
    text_hash: str
    training_bytes: int
    held_out_bytes: int
    stream_tokens: int


def read_text(recipe: Recipe) -> Split:
    """The recipe's documents, without near duplicates, as training and held-out parts."""
    part = recipe.text
    if part.source == "stdlib":
        return stdlib_split(held_out_share=part.held_out_share)
    kept = deduplicate(read_documents(part.paths)).kept
    return split_by_hash(kept, held_out_share=part.held_out_share)


def prepare(recipe: Recipe, out: Path) -> Prepared:
    """Build text, tokeniser and token stream below `out`; the same recipe and text give the same files.

    Raises:
        TrainingError: one side of the split is empty, or the text is too short.
    """
    split = read_text(recipe)
    if not split.training or not split.held_out:
        raise TrainingError(
            f"the split leaves {len(split.training)} training and {len(split.held_out)} held-out documents; "
            "both need at least one. Give more documents or another text.held_out_share."
        )
    out.mkdir(parents=True, exist_ok=True)
    write_documents(out / "training.jsonl", split.training)
    write_documents(out / "held-out.jsonl", split.held_out)
    tokenizer = train_tokenizer(
        split.training, vocabulary=recipe.tokenizer.vocabulary, alphabet=recipe.tokenizer.alphabet
    )
    tokenizer.model_max_length = recipe.model.context
    tokenizer.save_pretrained(out / "tokenizer")
    stream = pack(split.training, tokenizer, context=recipe.model.context, seed=recipe.seed)
    np.save(out / "tokens.npy", stream.tokens, allow_pickle=False)
    return Prepared(
        folder=out,
        text_hash=content_hash(split.training),
        training_bytes=stream.bytes,
        held_out_bytes=sum(document.bytes for document in split.held_out),
        stream_tokens=len(stream.tokens),
    )


def pretrain(
    recipe: Recipe,
    out: Path,
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    threads: int | None = None,
    report: Callable[[Step], None] | None = None,
) -> list[dict[str, Any]]:
    """Train the rungs of a recipe into `out/<rung>`; finished ones are kept, begun ones resumed.

    Args:
        recipe: what to train.
        out: a folder of this recipe's own; checkpoints and logs lie in `out/runs/<rung>`.
        only: names of rungs; none means all.
        jobs: rungs trained at once, each in a process of its own, largest first. On a machine that does
            other work too, several jobs of one thread go much further than one job of several threads.
        threads: threads of each job; by default the machine's, shared out.
        report: called after each step, when jobs is 1.

    Returns:
        One record a rung, in the recipe's order: what its `training.json` holds.

    Raises:
        TrainingError: a name in `only` is unknown, or a rung fails; the others are finished first.
    """
    names = [rung.name for rung in recipe.rungs]
    for name in only:
        if name not in names:
            raise TrainingError(f"{recipe.name} has no rung {name!r}; {did_you_mean(name, names)}")
    chosen = [rung for rung in recipe.rungs if not only or rung.name in only]
    prepared = prepare(recipe, out)
    threads = threads or max(1, torch.get_num_threads() // jobs)
    if jobs == 1:
        return [finish_rung(rung, recipe, prepared, threads, report) for rung in chosen]
    records, failures = {}, []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        largest_first = sorted(chosen, key=lambda rung: -rung.tokens * rung.layers * rung.hidden**2)
        futures = {
            pool.submit(finish_rung, rung, recipe, prepared, threads): rung.name for rung in largest_first
        }
        for future in as_completed(futures):
            try:
                records[futures[future]] = future.result()
            except TrainingError as error:
                failures.append(str(error))
    if failures:
        raise TrainingError("\n".join(failures))
    return [records[rung.name] for rung in chosen]


def finish_rung(
    rung: Rung,
    recipe: Recipe,
    prepared: Prepared,
    threads: int,
    report: Callable[[Step], None] | None = None,
) -> dict[str, Any]:
    """Train, export and evaluate one rung, unless it is already there."""
    folder = prepared.folder / rung.name
    identity = run_identity(rung, recipe, prepared.text_hash)
    record = read_record(folder)
    if record is not None and record["run"] == identity:
        return record
    torch.set_num_threads(threads)
    tokenizer = load_tokenizer(prepared.folder / "tokenizer")
    stream = Stream(
        tokens=np.load(prepared.folder / "tokens.npy", allow_pickle=False),
        bytes=prepared.training_bytes,
        context=recipe.model.context,
    )
    trained = train_rung(
        rung,
        recipe,
        stream,
        folder=prepared.folder / "runs" / rung.name,
        text_hash=prepared.text_hash,
        report=report,
    )
    size = size_of(rung, recipe.model, recipe.tokenizer.vocabulary)
    # What is measured is what is written: weights rounded to bfloat16, arithmetic in float32.
    model = trained.model.to(torch.bfloat16).float()
    scored = score(model, tokenizer, _held_out(prepared), context=recipe.model.context)
    held_out = rate(scored)
    record = {
        "rung": rung.name,
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
        "threads": threads,
        "prequential_bits": trained.prequential_bits,
        "training_text_hash": prepared.text_hash,
        "training_bytes": prepared.training_bytes,
        "held_out_text_hash": content_hash(_held_out(prepared)),
        "held_out_documents": held_out.documents,
        "held_out_bytes": sum(s.bytes for s in scored),
        "held_out_bits": sum(s.bits for s in scored),
        "held_out_bits_per_byte": held_out.bits_per_byte,
        "held_out_standard_error": held_out.standard_error,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    export_rung(folder, model=model, tokenizer=tokenizer, record=record)
    return record


def _held_out(prepared: Prepared) -> list[Document]:
    return list(read_documents([prepared.folder / "held-out.jsonl"]))


def family_tokenizer(out: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a family trained into `out`."""
    return load_tokenizer(out / "tokenizer")
