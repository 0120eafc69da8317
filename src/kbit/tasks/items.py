"""A task's files as items: read, checked, asked in words."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kbit.corpus.asked import LABEL_TEMPLATE
from kbit.errors import CorpusError, UsageError
from kbit.tasks.item import CHINESE, PLAIN, Item, language_of
from kbit.tasks.raw import Raw, Reading
from kbit.tasks.readers.general import read_general
from kbit.tasks.readers.records import read_records
from kbit.tasks.task import Task

LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "cs": "Czech", "zh": "Chinese", "es": "Spanish",
    "it": "Italian", "ja": "Japanese", "ru": "Russian", "uk": "Ukrainian", "hr": "Croatian",
}  # fmt: skip


def read_items(task: Task, paths: Sequence[Path], how: Reading) -> tuple[list[Item], str]:
    """The items of a task, and the language of their answers.

    Args:
        task: a row of the table.
        paths: files in one of the layouts of the task, or of the form of `kbit finetune`.
        how: template, words, names of fields, a limit.

    Raises:
        CorpusError: a file is missing, empty, or one of its records is wrong; file and line are named.
        UsageError: the records lack what the task needs, the template has unknown places.
    """
    for path in paths:
        if not path.exists():
            raise CorpusError(f"no such file: {path}. {task.name} reads {task.files}.")
    raws = read_raws(task, paths, how)
    if not raws:
        raise CorpusError(f"{', '.join(map(str, paths))}: nothing to ask. {task.name} reads {task.files}.")
    language = how.language or _language(raws)
    items = _items(task, raws, how, language)
    if how.limit is not None and how.limit < len(items):
        kept = np.sort(np.random.default_rng(how.seed).permutation(len(items))[: how.limit])
        items = [items[i] for i in kept]
    return items, language


def read_raws(task: Task, paths: Sequence[Path], how: Reading) -> list[Raw]:
    """Records of files in whatever layout they have."""
    for reader in task.readers:
        found = reader(paths, how)
        if found is not None:
            return found
    known = read_records(paths, task.layouts, how) if task.layouts else None
    return known if known is not None else read_general(paths, how)


def _language(raws: Sequence[Raw]) -> str:
    to = raws[0].fields.get("to")
    if isinstance(to, str) and to in LANGUAGES:
        return to
    references = [reference for raw in raws[:200] for reference in raw.references[:1]]
    return language_of(references or [raw.given for raw in raws[:200]])


def _items(task: Task, raws: Sequence[Raw], how: Reading, language: str) -> list[Item]:
    if task.form == "label":
        return _labelled(task, raws, how, language)
    choosing = task.form == "pair" or (task.harness is not None and not raws[0].references)
    if choosing and not all(raw.choices for raw in raws):
        place = next(raw.source for raw in raws if not raw.choices)
        raise CorpusError(f"{place}: no choices. {task.name} reads {task.files}.")
    if not choosing and task.form not in ("cluster", "program"):
        for raw in raws:
            if not raw.references:
                raise CorpusError(f"{raw.source}: no answer to compare with. {task.name} reads {task.files}.")
    template = how.template or task.templates.get(language) or task.templates.get(PLAIN, "{text}")
    if task.harness is not None:
        template = how.template or task.harness.text
    return [
        Item(
            name=str(number),
            source=raw.source,
            prompt=_prompt(raw, template, written=task.form not in ("pair", "cluster")),
            references=raw.references,
            choices=raw.choices,
            gold=raw.gold,
            group=raw.group,
            given=raw.given,
            question=raw.question,
            fields={
                **raw.fields,
                **({} if raw.label is None else {"label": raw.label}),
                "continuation": raw.continuation
                or (_spaced(raw.references[0], language) if raw.references else ""),
            },
        )
        for number, raw in enumerate(raws, start=1)
    ]


def _prompt(raw: Raw, template: str, *, written: bool) -> str:
    if raw.prompt is not None:
        return raw.prompt
    if not written:
        return ""
    named = {
        "text": raw.given,
        "question": raw.question,
        "from": LANGUAGES.get(str(raw.fields.get("from")), "Text"),
        "to": LANGUAGES.get(str(raw.fields.get("to")), "Translation"),
    }
    return filled(template, named)


def filled(template: str, named: Mapping[str, str]) -> str:
    r"""A template with its places filled; what stands in braces inside the texts is left alone.

    Raises:
        UsageError: the template has a place that is not known.

    >>> filled("{text}\nTopic:", {"text": "a {b}"})
    'a {b}\nTopic:'
    """

    def fill(match: "re.Match[str]") -> str:
        if match[1] not in named:
            raise UsageError(
                f"the template has {match[0]}, which is not known; it may have "
                f"{', '.join('{' + name + '}' for name in named)}."
            )
        return named[match[1]]

    return re.sub(r"\{(\w*)\}", fill, template)


def _spaced(text: str, language: str) -> str:
    """An answer as it stands after a prompt that ends without a space."""
    return text if language == CHINESE else f" {text}"


def _labelled(task: Task, raws: Sequence[Raw], how: Reading, language: str) -> list[Item]:
    for raw in raws:
        if raw.label is None:
            raise CorpusError(f"{raw.source}: no label. {task.name} reads {task.files}.")
    present = sorted({raw.label for raw in raws if raw.label is not None})
    taught = raws[0].taught
    words = dict(how.words) or _words(task, present, language, taught=taught)
    classes = tuple(words)
    wrong = next((raw for raw in raws if raw.label not in words), None)
    if wrong is not None:
        raise CorpusError(
            f"{wrong.source}: the label {wrong.label!r} does not exist; allowed: {', '.join(classes)}."
        )
    if len(present) < 2:
        raise CorpusError(
            f"{raws[0].source} to {raws[-1].source}: every label is {present[0]!r}. Two classes at least are "
            "needed to tell apart."
        )
    own = task.templates.get(language) or task.templates[PLAIN]
    template = how.template or (LABEL_TEMPLATE if taught else own)
    return [
        Item(
            name=str(number),
            source=raw.source,
            prompt=_prompt(raw, template, written=True),
            choices=tuple(words.values()),
            gold=classes.index(str(raw.label)),
            classes=classes,
            group=raw.group,
            given=raw.given,
            fields=raw.fields,
        )
        for number, raw in enumerate(raws, start=1)
    ]


def _words(task: Task, present: Sequence[str], language: str, *, taught: bool) -> dict[str, str]:
    """Words of the task where the labels are its own; else the labels themselves, a space before each.

    So are labels of files that `kbit finetune` takes, because that is what it teaches.
    """
    own = task.words.get(language) or task.words.get(PLAIN, {})
    if own and not taught and set(present) <= set(own):
        return dict(own)
    return {label: f" {label}" for label in present}
