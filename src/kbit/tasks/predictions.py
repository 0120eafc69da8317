"""Answers kept in a file as they come, so that a run that was killed goes on where it stopped."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kbit.corpus.files import write_whole
from kbit.errors import UsageError
from kbit.tasks.item import Answer, Item, items_hash

VERSION = 1
Work = Callable[[Sequence[Item]], Iterator[Sequence[tuple[Item, Answer]]]]
"""Answers items, a batch at a time, in any order."""


def answer_all(
    items: Sequence[Item],
    work: Work,
    *,
    file: Path,
    settings: Mapping[str, Any],
    on_answer: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Answers to all items: those that the file has, and the others made and added to it.

    A line is written for each batch and synced. A last line that was torn is dropped. The file's first line
    says what its answers were made with.

    Args:
        items: of the task.
        work: answers those that are missing.
        file: of JSON lines.
        settings: whatever changes an answer: model, task, prompt, decoding.
        on_answer: called with the number of answers that are there and that of items.

    Returns:
        Answers in the order of items.

    Raises:
        UsageError: the file holds something else, or answers made with other settings.
    """
    head = {"kbit_predictions": VERSION, "settings": dict(settings), "items": items_hash(items)}
    key = settings_key(head)
    there = read_answers(file, key=key) if file.exists() else {}
    wanted = [item for item in items if item.name not in there]
    if wanted:  # a file that is whole is left alone; of another, only whole lines are kept
        kept = [_line(item, there[item.name]) for item in items if item.name in there]
        write_whole(file, "".join(_json(line) for line in [head | {"key": key}, *kept]).encode())
    done = len(there)
    if on_answer is not None:
        on_answer(done, len(items))
    if wanted:
        with file.open("ab") as out:
            for batch in work(wanted):
                for item, answer in batch:
                    there[item.name] = answer
                    out.write(_json(_line(item, answer)).encode())
                out.flush()
                os.fsync(out.fileno())
                done += len(batch)
                if on_answer is not None:
                    on_answer(done, len(items))
    return [there[item.name] for item in items]


def read_answers(file: Path, *, key: str | None = None) -> dict[str, Answer]:
    """The answers of a file, by item.

    Args:
        file: that `answer_all` wrote.
        key: of the settings that it must have been made with; None for any.

    Raises:
        UsageError: it is no such file, or was made with other settings.
    """
    found: dict[str, Answer] = {}
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if number == 1:
                if not row["kbit_predictions"]:
                    raise KeyError
                if key is not None and row["key"] != key:
                    raise UsageError(
                        f"{file} holds answers of another model, task, prompt or setting. Choose another "
                        "--predictions file, or remove it."
                    )
                continue
            answer = Answer(**{**row["answer"], "choice_bits": tuple(row["answer"]["choice_bits"])})
            found[row["item"]] = answer
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and number > 1:
                continue  # torn when the run was killed
            raise UsageError(
                f"{file}:{number}: no answers that kbit wrote. Choose another --predictions file."
            ) from None
    return found


def settings_key(head: Mapping[str, Any]) -> str:
    """What tells settings apart, as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(head, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _line(item: Item, answer: Answer) -> dict[str, Any]:
    wanted: Any = list(item.references)
    if item.choices:
        wanted = None if item.gold is None else item.choices[item.gold]
    return {
        "item": item.name,
        "source": item.source,
        "prompt": item.prompt,
        "wanted": wanted,
        "answer": asdict(answer),
    }


def _json(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
