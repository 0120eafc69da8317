"""A study file: TOML that says which models, formats and texts to measure."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbit.errors import StudyError, did_you_mean

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What a study file says, checked for shape; what it names is looked up when it is planned.

    Attributes:
        name: names the study in the store.
        models: folders (relative to `folder`), hub ids, `ladder:rung-3`, or `ladder:*`.
        formats: weight formats of the body.
        texts: each is measured on its own: a file, a folder, or `ladder:held-out`.
        baseline_texts: together, what baselines are fitted on: files, folders, or `ladder:train`.
        baselines: coders by name.
        methods: how codes are chosen.
        embeddings: weight format of the embeddings beside a packed body, None for 16 bits; `head` that of
            an output layer that is not tied to them.
        dtype: data type of the activations.
        against_16_bit: also compare each k-bit model with its 16-bit original, token by token.
        family: what the models' family is called; by default what their names share.
        context: tokens read at once, None for what the model was built for; `stride` from window to window.
        batch_size: windows run together; changes time and memory, no figure.
        folder: where relative paths begin.
        file: where it was read from, for messages.
    """

    name: str
    models: tuple[str, ...]
    formats: tuple[str, ...]
    texts: tuple[str, ...]
    baseline_texts: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ("kneser-ney-6", "unigram", "uniform")
    methods: tuple[str, ...] = ("nearest",)
    embeddings: str | None = None
    head: str | None = None
    dtype: str = "float32"
    against_16_bit: bool = True
    family: str | None = None
    context: int | None = None
    stride: int | None = None
    batch_size: int | None = None
    folder: Path = field(default_factory=Path)
    file: str = "the study"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key of a study file."""

    name: str
    kind: str
    required: bool = False
    table: str = ""


KEYS = tuple(
    Key(name=name, kind=kind, required=required, table=table)
    for name, kind, required, table in (
        ("name", "text", True, ""),
        ("models", "texts", True, ""),
        ("formats", "texts", True, ""),
        ("texts", "texts", True, ""),
        ("baseline_texts", "texts", False, ""),
        ("baselines", "texts", False, ""),
        ("methods", "texts", False, ""),
        ("embeddings", "text", False, ""),
        ("head", "text", False, ""),
        ("dtype", "text", False, ""),
        ("against_16_bit", "flag", False, ""),
        ("family", "text", False, ""),
        ("context", "size", False, "coder"),
        ("stride", "size", False, "coder"),
        ("batch_size", "size", False, "coder"),
    )
)
_KINDS = {
    "text": "a text in quotes",
    "texts": 'a list of texts, such as ["a", "b"]',
    "flag": "true or false",
    "size": "a whole number from 1",
}
# A list that may be empty: a study without baselines has no gains, but is one.
_MAY_BE_EMPTY = {"baseline_texts", "baselines"}


def read_study(path: Path | str) -> Study:
    """Read a study file.

    Raises:
        StudyError: the file is missing, not TOML, lacks a key, or has one that does not exist or is of the
            wrong kind; the message names the file and the line.
    """
    file = Path(path)
    try:
        source = file.read_bytes().decode()
    except OSError as error:
        raise StudyError(f"the study {file} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"the study {file} is not UTF-8 text. A study is a TOML file.") from error
    try:
        content = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"the study {file} is not TOML: {error}. See `docs/commands/study.md`.") from error
    return _study(content, source, file)


def _study(content: Mapping[str, Any], source: str, file: Path) -> Study:
    tables = {key.table for key in KEYS} - {""}
    given: dict[str, Any] = {}
    for table, entries in (("", content), *((t, content[t]) for t in sorted(tables) if t in content)):
        if not isinstance(entries, Mapping):
            raise StudyError(f"{_at(file, source, table)}: {table} must be a table, [{table}].")
        allowed = {key.name: key for key in KEYS if key.table == table}
        for name, value in entries.items():
            if not table and name in tables:
                continue
            if name not in allowed:
                raise StudyError(f"{_at(file, source, name, table)}: {_unknown(name, table)}")
            given[name] = _checked(value, allowed[name], _at(file, source, name, table))
    missing = [key.name for key in KEYS if key.required and key.name not in given]
    if missing:
        raise StudyError(
            f"{file}: no {' and no '.join(missing)}. A study says at least "
            f"{', '.join(key.name for key in KEYS if key.required)}."
        )
    if given.get("dtype", DTYPES[0]) not in DTYPES:
        raise StudyError(
            f"{_at(file, source, 'dtype')}: dtype {given['dtype']!r} does not exist; "
            f"{did_you_mean(given['dtype'], DTYPES)}"
        )
    context, stride = given.get("context"), given.get("stride")
    if stride is not None and context is not None and stride > context:
        raise StudyError(
            f"{_at(file, source, 'stride', 'coder')}: the stride {stride} is longer than the "
            f"context {context}, so tokens would be left out. Give 1 to {context}."
        )
    return Study(**given, folder=file.parent, file=str(file))


def _checked(value: Any, key: Key, place: str) -> Any:
    wanted = f"{place}: {key.name} must be {_KINDS[key.kind]}, not {value!r}."
    if key.kind == "texts":
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            raise StudyError(wanted)
        if not value and key.name not in _MAY_BE_EMPTY:
            raise StudyError(
                f"{place}: {key.name} is empty, so there is nothing to measure. Name at least one."
            )
        twice = sorted({v for v in value if value.count(v) > 1})
        if twice:
            raise StudyError(f"{place}: {key.name} names {', '.join(twice)} twice. Name each once.")
        return tuple(value)
    fits_one = {
        "text": isinstance(value, str) and bool(value.strip()),
        "flag": isinstance(value, bool),
        "size": isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    }
    if not fits_one[key.kind]:
        raise StudyError(wanted)
    return value


def _unknown(name: str, table: str) -> str:
    where = f"[{table}]" if table else "a study"
    elsewhere = next((k for k in KEYS if k.name == name), None)
    if elsewhere:
        right = f"[{elsewhere.table}]" if elsewhere.table else "the top of the file, before any [table]"
        return f"{name} does not belong in {where}; it belongs in {right}."
    names = [key.name for key in KEYS if key.table == table] + ([] if table else ["coder"])
    # A near word in the other table helps more than a list of this one.
    near = difflib.get_close_matches(name, [k.name for k in KEYS], n=1, cutoff=0.6)
    return f"{where} has no key {name!r}; {did_you_mean(name, near or names)}"


def _at(file: Path, source: str, name: str, table: str = "") -> str:
    """`FILE, line N` where a key or a table stands, as far as that can be found in the text."""
    key = re.compile(rf"^\s*[\"']?{re.escape(name)}[\"']?\s*[=.]")
    within = ""
    for number, line in enumerate(source.splitlines(), start=1):
        if header := re.match(r"^\s*\[\s*([\w-]+)\s*\]", line):
            within = header[1]
        if (within == table and key.match(line)) or (header and not table and within == name):
            return f"{file}, line {number}"
    return str(file)
