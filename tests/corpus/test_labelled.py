"""Documents with labels: numbers and words, holes told, and files that have none refused."""

import json

import pytest

from kbit.corpus.labelled import read_labelled
from kbit.errors import CorpusError


def test_labels_stand_beside_their_texts_and_holes_are_counted(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text('kind,text\nred,one\n"",two\n blue ,three\nred,"  "\n')
    lines = tmp_path / "b.jsonl"
    rows = [{"text": "four", "kind": 0, "name": "own"}, {"text": "five", "kind": None}, {"text": "six"},
            {"text": "seven", "kind": 1.5}]  # fmt: skip
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_labelled([table, lines], field="text", label="kind")
    assert [(d.text, label) for d, label in zip(found.documents, found.labels, strict=True)] == [
        ("one", "red"), ("three", "blue"), ("four", "0"), ("seven", "1.5"),
    ]  # fmt: skip
    assert found.without_label == 3
    assert found.documents[2].name == "own"


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_a_file_without_such_labels_is_named(tmp_path, name):
    (tmp_path / name).write_text("text\nred\nblue\n")
    with pytest.raises(CorpusError, match="'kind'"):
        read_labelled([tmp_path / name], field="text", label="kind")
