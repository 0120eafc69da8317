"""A study file: TOML that says which models, formats and texts to measure."""

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbit.errors import StudyError, did_you_mean

GENERATE = "generate"
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The table [generate]: every temperature with every top_k and top_p, for each seed.

    Attributes:
        prompts: what prompts are the beginnings of: a file, a folder, or `ladder:held-out`.
        scorer: a model, as in `models`, or a coder by name; it gives the bits of both texts.
        prompt_tokens: tokens of each document that are the prompt.
        max_new_tokens: at most so many are generated; human text is cut to as many.
        temperatures, top_k, top_p: as `kbit generate` takes them; at temperature 0 cut-offs and seeds fall
            together.
        samples: continuations of each prompt, for each seed.
        seeds: of the sampling.
        estimator: of entropy rates.
    """

    prompts: str
    scorer: str
    prompt_tokens: int = 64
    max_new_tokens: int = 128
    temperatures: tuple[float, ...] = (1.0,)
    top_k: tuple[int, ...] = (0,)
    top_p: tuple[float, ...] = (1.0,)
    samples: int = 1
    seeds: tuple[int, ...] = (0,)
    estimator: str | None = None


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
        generate: text that models generate, and what it is compared with; None for none.
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
    generate: Generation | None = None
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
        ("prompts", "text", True, "generate"),
        ("scorer", "text", True, "generate"),
        ("prompt_tokens", "size", False, "generate"),
        ("max_new_tokens", "size", False, "generate"),
        ("temperatures", "numbers", False, "generate"),
        ("top_k", "counts", False, "generate"),
        ("top_p", "numbers", False, "generate"),
        ("samples", "size", False, "generate"),
        ("seeds", "counts", False, "generate"),
        ("estimator", "text", False, "generate"),
    )
)
_KINDS = {
    "text": "a text in quotes",
    "texts": 'a list of texts, such as ["a", "b"]',
    "flag": "true or false",
    "size": "a whole number from 1",
    "numbers": "a list of numbers from 0, such as [0.7, 1.0]",
    "counts": "a list of whole numbers from 0, such as [0, 50]",
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
    inner: dict[str, Any] = {}
    for table, entries in (("", content), *((t, content[t]) for t in sorted(tables) if t in content)):
        if not isinstance(entries, Mapping):
            raise StudyError(f"{_at(file, source, table)}: {table} must be a table, [{table}].")
        allowed = {key.name: key for key in KEYS if key.table == table}
        for name, value in entries.items():
            if not table and name in tables:
                continue
            if name not in allowed:
                raise StudyError(f"{_at(file, source, name, table)}: {_unknown(name, table)}")
            (inner if table == GENERATE else given)[name] = _checked(
                value, allowed[name], _at(file, source, name, table)
            )
    for table, found in (("", given), *(((GENERATE, inner),) if GENERATE in content else ())):
        needed = [key.name for key in KEYS if key.required and key.table == table]
        missing = [name for name in needed if name not in found]
        if missing:
            where = f"[{table}] says" if table else "A study says"
            raise StudyError(f"{file}: no {' and no '.join(missing)}. {where} at least {', '.join(needed)}.")
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
    generate = Generation(**inner) if GENERATE in content else None
    return Study(**given, generate=generate, folder=file.parent, file=str(file))


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
    if key.kind in ("numbers", "counts"):
        kinds = int if key.kind == "counts" else (int, float)
        if not isinstance(value, list) or not value or not all(_number(v, kinds) for v in value):
            raise StudyError(wanted)
        if len(set(value)) < len(value):
            raise StudyError(f"{place}: {key.name} names a value twice. Name each once.")
        return tuple(value) if key.kind == "counts" else tuple(float(v) for v in value)
    fits_one = {
        "text": isinstance(value, str) and bool(value.strip()),
        "flag": isinstance(value, bool),
        "size": isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    }
    if not fits_one[key.kind]:
        raise StudyError(wanted)
    return value


def _number(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value < math.inf


def _unknown(name: str, table: str) -> str:
    where = f"[{table}]" if table else "a study"
    elsewhere = next((k for k in KEYS if k.name == name), None)
    if elsewhere:
        right = f"[{elsewhere.table}]" if elsewhere.table else "the top of the file, before any [table]"
        return f"{name} does not belong in {where}; it belongs in {right}."
    names = [key.name for key in KEYS if key.table == table] + ([] if table else ["coder", GENERATE])
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
