"""SQuAD's JSON, which XQuAD has in every language."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbit.errors import CorpusError
from kbit.tasks.raw import Raw, Reading, text_of


def read_squad(paths: Sequence[Path], how: Reading) -> list[Raw] | None:
    """Questions with their passages; None where files are no `.json`.

    Raises:
        CorpusError: a question is wrong; the file and the question's place are named.
    """
    if any(path.suffix != ".json" for path in paths):
        return None
    found: list[Raw] = []
    for path in paths:
        try:
            articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f'{path} is not SQuAD\'s JSON ({error!r}): {{"data": [{{"paragraphs": …}}]}}.'
            ) from error
        for a, article in enumerate(articles):
            for p, paragraph in enumerate(article.get("paragraphs", [])):
                place = f"{path}:data[{a}].paragraphs[{p}]"
                passage = text_of(paragraph, "context", place)
                found += [
                    _question(q, passage, f"{place}.qas[{i}]") for i, q in enumerate(paragraph.get("qas", []))
                ]
    return found


def _question(record: Mapping[str, Any], passage: str, place: str) -> Raw:
    answers = tuple(dict.fromkeys(text_of(a, "text", place) for a in record.get("answers", [])))
    if not answers:
        raise CorpusError(f"{place}: no answers. Remove the question: nothing was done.")
    return Raw(source=place, given=passage, question=text_of(record, "question", place), references=answers)
