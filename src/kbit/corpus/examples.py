"""Examples of tasks from JSON lines and tables, all of them checked before any work begins."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.corpus.example import FORMS, ROLES, Example, Form, Message
from kbit.corpus.opening import ReadTally, lines_of, packed_suffix, text_pieces
from kbit.corpus.read import MOST_DOCUMENT_BYTES, find_files
from kbit.errors import CorpusError, UsageError, did_you_mean

MARKS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
# Faults that one message tells of; the rest are counted.
MOST_TOLD = 5
FEWEST_CLASSES = 2
_BOM = "\ufeff"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFields:
    """Names of the fields of a record.

    Attributes:
        prompt: what is asked; `completion` its answer, a text or a list of texts each of which is right.
        text: what is to be labelled; `label` its label, a text or a whole number.
        messages: a conversation, a list of {"role": …, "content": …}.
        columns: names of a table's columns, for a table without a first line that names them.
    """

    prompt: str = "prompt"
    completion: str = "completion"
    text: str = "text"
    label: str = "label"
    messages: str = "messages"
    columns: tuple[str, ...] = ()

    def of(self, form: Form) -> tuple[str, ...]:
        """The fields that a record of a form must have."""
        return {
            "completion": (self.prompt, self.completion),
            "label": (self.text, self.label),
            "chat": (self.messages,),
        }[form]


def read_examples(
    paths: Sequence[Path | str],
    *,
    form: Form | None = None,
    names: ExampleFields | None = None,
    labels: Sequence[str] | None = None,
    length: Callable[[Example], int] | None = None,
    longest: int | None = None,
    unit: str = "tokens",
) -> list[Example]:
    """Read all examples of files, and refuse the files whole where one of them is wrong.

    Args:
        paths: `.jsonl` or `.ndjson` files with one object a line, `.csv` or `.tsv` tables, packed or not
            (`.gz`, …), or folders of them.
        form: `completion`, `label` or `chat`; by default the one whose fields the first record has.
        names: of the fields.
        labels: the only labels allowed; by default any, two different ones at least.
        length: how long an example is, in `unit`; asked only where `longest` is given.
        longest: a longer example is refused.
        unit: what `length` counts.

    Returns:
        Examples, in the order of the files.

    Raises:
        CorpusError: a file holds no examples; or some have missing fields, empty texts or targets, wrong
            labels, messages out of order, are too long, or all have one label. The message names file and
            line of the first five.
        UsageError: no such form.
    """
    names = names or ExampleFields()
    if form is not None and form not in FORMS:
        raise UsageError(f"no examples are of the form {form!r}: {did_you_mean(form, FORMS)}.")
    found: list[Example] = []
    faults = _Faults()
    for file, _ in find_files(paths):
        for place, record in records_of(file, columns=names.columns):
            form = form or _form_of(record, names, place)
            try:
                found.append(_example(record, form, names, place))
            except CorpusError as error:
                faults.add(str(error))
    if not found and not faults:
        raise CorpusError(f"{' '.join(map(str, paths))}: no examples. Give one JSON object a line, or a row.")
    if labels is not None:
        allowed = tuple(labels)
        for example in found:
            if example.label is not None and example.label not in allowed:
                told = did_you_mean(example.label, allowed)
                faults.add(f"{example.source}: the label {example.label!r} does not exist; {told}")
    if longest is not None and length is not None:
        for example in found:
            count = length(example)
            if count > longest:
                faults.add(
                    f"{example.source}: {count} {unit}, more than the {longest} allowed. Shorten it, "
                    "or leave it out"
                )
    faults.report()
    if form == "label" and labels is None:
        check_classes(found)
    return found


def check_classes(examples: Sequence[Example]) -> tuple[str, ...]:
    """The labels of examples, sorted.

    Raises:
        CorpusError: all have one label, which leaves nothing to tell apart.
    """
    found = sorted({example.label for example in examples if example.label is not None})
    if len(found) < FEWEST_CLASSES:
        raise CorpusError(
            f"{examples[0].source} to {examples[-1].source}: every label is {found[0]!r}. Two classes at "
            "least are needed; give examples of another, or name the right field."
        )
    return tuple(found)


def records_of(file: Path | str, *, columns: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of one file, each with the place where it begins, `file:line`.

    Args:
        file: JSON lines or a table, as its suffix says.
        columns: names of a table's columns; by default its first line.

    Raises:
        CorpusError: a line is no JSON object, a row has another number of cells than its table.
    """
    path = Path(file)
    suffix = (Path(path.stem) if packed_suffix(path) else path).suffix.lower()
    pieces = text_pieces(path, encoding="utf-8", replace=False, tally=ReadTally())
    lines = (line.removeprefix(_BOM) if i == 0 else line for i, line in enumerate(lines_of(pieces)))
    if suffix in LINES:
        yield from _of_lines(lines, path)
    elif suffix in MARKS:
        yield from _of_table(lines, path, MARKS[suffix], tuple(columns))
    else:
        raise CorpusError(
            f"{path}: examples lie in {', '.join((*LINES, *MARKS))} files. Write an object a line, such "
            'as {"prompt": …, "completion": …} or {"text": …, "label": …}.'
        )


def _of_lines(lines: Iterator[str], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{place}: not JSON ({error}). Give one JSON object a line.") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{place}: a JSON {type(record).__name__}. Give one JSON object a line.")
        yield place, record


def _of_table(
    lines: Iterator[str], path: Path, mark: str, columns: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(MOST_DOCUMENT_BYTES)
    reader = csv.reader((line + "\n" for line in lines), delimiter=mark)
    header = list(columns)
    begun = 1
    try:
        for row in reader:
            place, begun = f"{path}:{begun}", reader.line_num + 1
            if not row:
                continue
            if not header:
                header = row
                continue
            if len(row) != len(header):
                raise CorpusError(
                    f"{place}: {len(row)} cells, where {len(header)} are named ({', '.join(header)}). Mend "
                    "the row, or name the columns."
                )
            yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise CorpusError(f"{path}:{begun}: not such a table ({error}). Mend the row.") from error


def _form_of(record: dict[str, Any], names: ExampleFields, place: str) -> Form:
    for form in FORMS:
        if all(name in record for name in names.of(form)):
            return form
    wanted = "; ".join(" and ".join(map(repr, names.of(form))) for form in FORMS)
    given = ", ".join(map(str, record)) or "none"
    raise CorpusError(
        f"{place}: fields {given}, which make no example. One has {wanted}. Add what is missing, or name "
        "the fields."
    )


def _example(record: dict[str, Any], form: Form, names: ExampleFields, place: str) -> Example:
    wanted = names.of(form)
    missing = [name for name in wanted if record.get(name) is None]
    if missing:
        given = ", ".join(map(str, record)) or "none"
        raise CorpusError(f"{place}: no {' and no '.join(map(repr, missing))} (fields: {given})")
    others = {name: value for name, value in record.items() if name not in wanted}
    if form == "chat":
        messages = _messages(record[names.messages], names.messages, place)
        return Example(source=place, messages=messages, fields=others)
    if form == "label":
        text = _text(record[names.text], names.text, place)
        return Example(source=place, prompt=text, label=_label(record, names.label, place), fields=others)
    prompt = _text(record[names.prompt], names.prompt, place, may_be_empty=True)
    given = record[names.completion]
    answers = given if isinstance(given, list) else [given]
    if not answers:
        raise CorpusError(f"{place}: {names.completion!r} is an empty list")
    completions = tuple(_text(answer, names.completion, place) for answer in answers)
    return Example(source=place, prompt=prompt, completions=completions, fields=others)


def _text(value: Any, name: str, place: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise CorpusError(f"{place}: {name!r} is no text but a {type(value).__name__}")
    if not (value.strip() or may_be_empty):
        raise CorpusError(f"{place}: {name!r} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{place}: {name!r} holds a lone surrogate, which is no UTF-8") from error
    return value


def _label(record: dict[str, Any], name: str, place: str) -> str:
    value = record[name]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return _text(value, name, place).strip()


def _messages(value: Any, name: str, place: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise CorpusError(f"{place}: {name!r} is no list of messages")
    found: list[Message] = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise CorpusError(f"{place}: message {number} has no 'role' and 'content'")
        role = message["role"]
        if role not in ROLES:
            raise CorpusError(f"{place}: message {number} has the role {role!r}; allowed: {', '.join(ROLES)}")
        found.append(Message(role=role, content=_text(message["content"], "content", place)))
    if found[-1].role != "assistant":
        raise CorpusError(f"{place}: the last message is the {found[-1].role}'s; it must be the assistant's")
    return tuple(found)


class _Faults:
    """What is wrong with examples: the first few in words, the others counted."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, fault: str) -> None:
        self._count += 1
        if len(self._told) < MOST_TOLD:
            self._told.append(fault)

    def report(self) -> None:
        if not self._count:
            return
        more = self._count - len(self._told)
        told = ". ".join(self._told) + (f". And {more} more" if more else "")
        raise CorpusError(f"{told}. Mend or remove what is wrong, and begin again: nothing was done.")
