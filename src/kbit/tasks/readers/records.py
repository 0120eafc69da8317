"""Known data sets of one record a line: told by the names of their fields."""

import html
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.corpus.examples import LINES, MARKS, records_of
from kbit.corpus.opening import packed_suffix
from kbit.errors import CorpusError
from kbit.tasks.raw import Raw, Reading, index_of, text_of, texts_of

Convert = Callable[[Mapping[str, Any], str], Raw]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A kind of record.

    Attributes:
        name: of the data sets that have it.
        keys: fields that tell it.
        convert: a record and its place to what it says.
    """

    name: str
    keys: tuple[str, ...]
    convert: Convert


def _scitldr(record: Mapping[str, Any], place: str) -> Raw:
    text = " ".join(" ".join(texts_of(record, "source", place)).split())
    targets = tuple(" ".join(t.split()) for t in texts_of(record, "target", place))
    return Raw(source=place, given=text, references=targets)


def _dialogsum(record: Mapping[str, Any], place: str) -> Raw:
    keys = sorted(key for key in record if key.startswith("summary"))
    return Raw(
        source=place,
        given=text_of(record, "dialogue", place),
        references=tuple(text_of(record, key, place) for key in keys),
    )


def _reviews(record: Mapping[str, Any], place: str) -> Raw:
    return Raw(source=place, given=text_of(record, "review", place), label=text_of(record, "label", place))


def _sst2(record: Mapping[str, Any], place: str) -> Raw:
    label = record.get("label")
    if label not in (0, 1):
        raise CorpusError(f"{place}: the label {label!r} does not exist; allowed: 0, 1.")
    return Raw(source=place, given=text_of(record, "sentence", place).strip(), label=str(label))


AG_NEWS_COLUMNS = ("class", "title", "description")


def _plain(text: str) -> str:
    """News without the marks of the pages it was taken from."""
    text = html.unescape(text.replace("\\", " "))
    text = text.replace(" #39;", "'").replace("#36;", "$").replace("quot;", '"')
    return re.sub(r"<[^>]*>", " ", text)


def _ag_news(record: Mapping[str, Any], place: str) -> Raw:
    title, body = text_of(record, "title", place), text_of(record, "description", place)
    text = _plain(f"{title}. {body}")
    label = text_of(record, "class", place)
    if label not in ("1", "2", "3", "4"):
        raise CorpusError(f"{place}: the class {label!r} does not exist; allowed: 1, 2, 3, 4.")
    return Raw(source=place, given=" ".join(text.split()), label=label)


def _hatecheck(record: Mapping[str, Any], place: str) -> Raw:
    return Raw(
        source=place,
        given=text_of(record, "test_case", place).strip(),
        label=text_of(record, "label_gold", place),
        group=str(record.get("target_ident") or "no group"),
    )


def _crows_pairs(record: Mapping[str, Any], place: str) -> Raw:
    more, less = text_of(record, "sent_more", place), text_of(record, "sent_less", place)
    return Raw(source=place, choices=(more, less), gold=0, group=text_of(record, "bias_type", place))


def _multiple_choice(record: Mapping[str, Any], place: str) -> Raw:
    choices = texts_of(record, "choices", place)
    return Raw(
        source=place,
        given=text_of(record, "query", place).strip(),
        choices=choices,
        gold=index_of(record, "gold", choices, place),
    )


def _sciq(record: Mapping[str, Any], place: str) -> Raw:
    names = ("distractor1", "distractor2", "distractor3", "correct_answer")
    return Raw(
        source=place,
        given=str(record.get("support") or "").strip(),
        question=text_of(record, "question", place),
        choices=tuple(text_of(record, name, place) for name in names),
        gold=3,
    )


def _winogrande(record: Mapping[str, Any], place: str) -> Raw:
    contexts = texts_of(record, "context_options", place)
    return Raw(
        source=place,
        choices=contexts,
        gold=index_of(record, "gold", contexts, place),
        continuation=text_of(record, "continuation", place),
    )


def _lambada(record: Mapping[str, Any], place: str) -> Raw:
    return Raw(
        source=place,
        given=text_of(record, "context", place),
        references=(text_of(record, "continuation", place).strip(),),
    )


def _problem(record: Mapping[str, Any], place: str) -> Raw:
    return Raw(
        source=place,
        prompt=text_of(record, "prompt", place),
        given=text_of(record, "prompt", place),
        references=(str(record.get("canonical_solution") or record.get("completion") or ""),),
        fields={
            "test": text_of(record, "test", place),
            "entry_point": text_of(record, "entry_point", place),
        },
    )


SCITLDR = Layout(name="SciTLDR", keys=("source", "target"), convert=_scitldr)
DIALOGSUM = Layout(name="DialogSum", keys=("dialogue",), convert=_dialogsum)
REVIEWS = Layout(name="ChnSentiCorp", keys=("label", "review"), convert=_reviews)
SST2 = Layout(name="SST-2", keys=("sentence", "label"), convert=_sst2)
AG_NEWS = Layout(name="AG News", keys=AG_NEWS_COLUMNS, convert=_ag_news)
HATECHECK = Layout(name="HateCheck", keys=("test_case", "label_gold"), convert=_hatecheck)
CROWS_PAIRS = Layout(name="CrowS-Pairs", keys=("sent_more", "sent_less"), convert=_crows_pairs)
MULTIPLE_CHOICE = Layout(name="query, choices, gold", keys=("query", "choices"), convert=_multiple_choice)
SCIQ = Layout(name="SciQ", keys=("question", "distractor1"), convert=_sciq)
WINOGRANDE = Layout(name="WinoGrande", keys=("context_options", "continuation"), convert=_winogrande)
LAMBADA = Layout(name="LAMBADA", keys=("context", "continuation"), convert=_lambada)
PROBLEMS = Layout(name="HumanEval", keys=("prompt", "test", "entry_point"), convert=_problem)


def read_records(paths: Sequence[Path], layouts: Sequence[Layout], how: Reading) -> list[Raw] | None:
    """Records of files of one of these layouts; None where they have another.

    Raises:
        CorpusError: a record is wrong; file and line are named.
    """
    found: list[Raw] = []
    for path in paths:
        inner = Path(path.stem) if packed_suffix(path) else path
        if inner.suffix.lower() not in (*LINES, *MARKS):
            return None
        columns = AG_NEWS_COLUMNS if AG_NEWS in layouts and _headless(path) else ()
        records = records_of(path, columns=columns)
        first = next(records, None)
        if first is None:
            raise CorpusError(f"{path} holds no records.")
        layout = next((row for row in layouts if all(key in first[1] for key in row.keys)), None)
        if layout is None:
            return None
        for place, record in itertools.chain([first], records):
            try:
                found.append(layout.convert(record, place))
            except CorpusError as error:
                if not how.drop_bad:
                    raise
                how.dropped.append(str(error))
    return found


def _headless(path: Path) -> bool:
    """A table whose first line is a row already: AG News has no names of columns."""
    if path.suffix.lower() != ".csv":
        return False
    first = next(iter(records_of(path, columns=AG_NEWS_COLUMNS)), None) if _three_cells(path) else None
    return first is not None and str(first[1]["class"]).isdigit()


def _three_cells(path: Path) -> bool:
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        return len(next(csv.reader(file), [])) == len(AG_NEWS_COLUMNS)
