"""Items and answers as files that others read or wrote."""

import json
from collections.abc import Sequence
from pathlib import Path

from kbit.errors import CorpusError
from kbit.tasks.baselines import reply_text, takes
from kbit.tasks.item import Answer, Item
from kbit.tasks.predictions import read_answers
from kbit.tasks.readers.lines import lines
from kbit.tasks.task import Task

PROBLEMS = Path(__file__).parent / "problems.jsonl"
"""Our own small set of problems for the task `code`."""


def kept_answers(task: Task, items: Sequence[Item], file: Path) -> tuple[list[Item], list[Answer]]:
    """Answers to items from a file: one a line, in their order, or what `answer_all` wrote.

    Args:
        task: of the items.
        items: all of them.
        file: where answers are; a run with a limit has those of some items.

    Returns:
        The items that are answered, and their answers.

    Raises:
        CorpusError: the file is missing, or does not have the answers of these items.
    """
    if not file.exists():
        raise CorpusError(f"no such file: {file}. Give answers, one a line, or what `kbit task run` kept.")
    held = lines(file)
    if held and '"kbit_predictions"' in held[0]:
        there = read_answers(file)
        answered = [item for item in items if item.name in there]
        if not answered or len(there) > len(items):
            raise CorpusError(f"{file} holds answers to other items than these. Give the data of that run.")
        return answered, [there[item.name] for item in answered]
    if len(held) != len(items):
        raise CorpusError(
            f"{file} has {len(held)} lines, and there are {len(items)} items: one answer a line, in order."
        )
    if not items[0].choices:
        return list(items), [Answer(text=line) for line in held]
    return list(items), [
        _chosen(item, line.strip(), file, i)
        for i, (item, line) in enumerate(zip(items, held, strict=True), start=1)
    ]


def _chosen(item: Item, line: str, file: Path, number: int) -> Answer:
    names = item.classes or tuple(choice.strip() for choice in item.choices)
    if line not in names:
        raise CorpusError(f"{file}:{number}: {line!r} is no choice; allowed: {', '.join(names)}.")
    return takes(item, names.index(line))


def example_lines(items: Sequence[Item]) -> bytes:
    """Items as JSON lines of prompt and completion, as a model is asked and to answer.

    What baselines and results need besides (the text alone, the question, the group) goes along.

    Raises:
        CorpusError: an item has no right answer.
    """
    found = []
    for item in items:
        if item.choices:
            if item.gold is None:
                raise CorpusError(f"{item.source}: no right answer to learn.")
            completion: str | list[str] = item.choices[item.gold]
        else:
            completion = reply_text(item).rstrip("\n")
        record = {
            "prompt": item.prompt,
            "completion": completion,
            "given": item.given,
            **({"question": item.question} if item.question else {}),
            **({"group": item.group} if item.group else {}),
            **({"label": item.classes[item.gold]} if item.classes and item.gold is not None else {}),
        }
        found.append(json.dumps(record, ensure_ascii=False) + "\n")
    return "".join(found).encode()
