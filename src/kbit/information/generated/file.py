"""A file of continuations, made bit by bit and gone on with after an interruption."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kbit.errors import CorpusError, UsageError
from kbit.information.generated.continuation import write_lines
from kbit.information.generated.decoding import Decoding
from kbit.information.generated.produce import DEFAULT_BATCH, VERSION, Prompt, Wanted, produce, record


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What became of a file: lines it holds, how many of them were made now, tokens of those."""

    lines: int
    made: int
    new_tokens: int


def generate_file(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    *,
    samples: int,
    seeds: Sequence[int],
    out: Path,
    told: Mapping[str, Any],
    batch_size: int = DEFAULT_BATCH,
    on_made: Callable[[int, int], None] | None = None,
) -> Written:
    """Write `samples` continuations of each prompt for each seed, one JSON object a line.

    What is made goes to `OUT.part`, synced after each batch; a later call with the same settings goes on from
    there, whatever ended the first. When all is made the lines are put in order and the file gets its name.

    Args:
        model: a causal language model.
        tokenizer: its tokeniser.
        prompts: see `make_prompts`.
        decoding: how tokens are chosen.
        samples: of each prompt, for each seed.
        seeds: of the sampling, 0 or more.
        out: the file.
        told: what each line says of the model: `model`, `content` and the like; part of what must be equal to
            go on.
        batch_size: continuations made together.
        on_made: told how many of how many are there.

    Raises:
        UsageError: a number out of range; or `out` holds what other settings made.
        CorpusError: the file cannot be written or read.
    """
    if samples < 1:
        raise UsageError(f"{samples} samples of each prompt are asked for; give at least 1.")
    wrong = [seed for seed in seeds if not 0 <= seed < 2**63]
    if wrong or not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds must be different numbers from 0 to 2^63 - 1, given {list(seeds)}.")
    if not prompts:
        raise UsageError("there are no prompts. Give at least one document; an empty one begins a new text.")
    key = _settings_key(decoding, told)
    order = {
        (p.source, seed, i): Wanted(prompt=p, seed=seed, sample=i)
        for p in prompts
        for seed in seeds
        for i in range(samples)
    }
    there = _read(out, key, order, whole=True) if out.exists() else {}
    if len(there) == len(order):
        return Written(lines=len(there), made=0, new_tokens=0)
    part = out.with_name(f"{out.name}.part")
    there |= _read(part, key, order, whole=False) if part.exists() else {}
    made = new_tokens = 0
    with _appending(part, there) as file:
        missing = [wanted for place, wanted in order.items() if place not in there]
        for batch in produce(model, tokenizer, missing, decoding, batch_size=batch_size):
            for one in batch:
                line = record(
                    one, decoding, {**told, "prompt_tokens": len(one.wanted.prompt.ids), "settings": key}
                )
                there[one.wanted.prompt.source, one.wanted.seed, one.wanted.sample] = line
                file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
                made += 1
                new_tokens += len(one.tokens)
            file.flush()
            os.fsync(file.fileno())
            if on_made is not None:
                on_made(len(there), len(order))
    write_lines(out, [there[place] for place in order])
    part.unlink(missing_ok=True)
    return Written(lines=len(order), made=made, new_tokens=new_tokens)


def _settings_key(decoding: Decoding, told: Mapping[str, Any]) -> str:
    settings = {"version": VERSION, **decoding.settings, **told}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _appending(part: Path, there: Mapping[Any, Mapping[str, Any]]) -> Iterator[IO[bytes]]:
    """The part file with only its whole lines, open to append."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        write_lines(part, list(there.values()))
        with part.open("ab") as file:
            yield file
    except OSError as error:
        raise CorpusError(
            f"{part} cannot be written: {error.strerror}. Choose another place, or make room and call again: "
            "what is there already stays."
        ) from error


def _read(
    file: Path, key: str, order: Mapping[tuple[str, int, int], Wanted], *, whole: bool
) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Lines of a file that this call would make too; a torn last line is left out."""
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        try:
            row = json.loads(line)
            place = (row["source"], row["seed"], row["sample"])
            settings = row["settings"]
        except (ValueError, KeyError, TypeError):
            if line.strip() and whole:
                raise UsageError(
                    f"{file}, line {number}: no continuation that kbit wrote. Choose another --out."
                ) from None
            continue
        wanted = order.get(place)
        if settings != key or wanted is None or wanted.prompt.text != row.get("prompt"):
            raise UsageError(
                f"{file} holds continuations made with another model, prompt, seed or setting (line "
                f"{number}). Choose another --out, or remove it."
            )
        found[place] = row
    return found
