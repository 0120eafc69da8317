import json
import math
import sys

import pytest

from kbit.corpus import Document, content_hash
from kbit.corpus.excerpt import excerpts
from kbit.corpus.stdlib import split_key, stdlib_documents, stdlib_split
from kbit.ladder import held_out, train
from kbit.ladder.models import FOLDER


@pytest.fixture(scope="module")
def documents():
    return {d.name: d.text for d in stdlib_documents()}


@pytest.fixture(scope="module")
def split():
    return stdlib_split()


def test_the_three_kinds(documents):
    import pydoc_data.topics

    assert documents["topics/assert"].strip() == pydoc_data.topics.topics["assert"].strip()
    assert documents["stdlib/json/decoder.py"].startswith('"""Implementation of JSONDecoder')
    assert math.floor.__doc__.split("\n")[0] in documents["builtins/math"]
    assert "math.floor(x, /)" in documents["builtins/math"]


def test_what_is_left_out(documents):
    for name in documents:
        parts = name.split("/")
        assert not {"test", "tests", "idle_test", "encodings", "site-packages", "__pycache__"} & set(parts), (
            name
        )
        assert not parts[1].startswith(("_sysconfigdata", "_test", "xxlimited")), name
    assert "stdlib/pydoc_data/topics.py" not in documents
    assert "stdlib/html/entities.py" not in documents
    assert all(text.strip() for text in documents.values())


def test_text_is_made_of_lines(documents):
    assert not any("\r" in text for text in documents.values())


def test_twins_in_c_and_python_fall_on_one_side(split):
    training = {split_key(d) for d in split.training}
    assert not training & {split_key(d) for d in split.held_out}
    twins = [Document(name=n, text="") for n in ("stdlib/_pyio.py", "stdlib/io.py", "builtins/_io")]
    assert {split_key(d) for d in twins} == {"io"}


def test_shipped_text_is_held_out_and_64_kilobytes(split):
    shipped = held_out()
    assert 60_000 < sum(d.bytes for d in shipped) <= 65_536
    assert len(shipped) >= 30
    names = {split_key(d) for d in split.training}
    assert not names & {split_key(d) for d in shipped}


def test_shipped_texts_are_those_of_the_manifest(split):
    manifest = json.loads((FOLDER / "texts.json").read_text())
    assert content_hash(held_out()) == manifest["held_out"]["hash"]
    if sys.version.split()[0] == manifest["python"]:
        assert content_hash(split.held_out) == manifest["held_out_whole"]["hash"]
        assert content_hash(split.training) == manifest["training"]["hash"]


def test_the_ladders_training_text_is_the_split_built_again(split):
    assert content_hash(train()) == content_hash(split.training)


def test_docstrings_are_those_of_an_untouched_interpreter(documents, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    monkeypatch.setattr(math, "floor", len)
    found = {d.name: d.text for d in stdlib_documents()}
    assert found["builtins/sys"] == documents["builtins/sys"]
    assert "sys.excepthook(exctype, value, traceback, /)" in found["builtins/sys"]
    assert found["builtins/math"] == documents["builtins/math"]


def test_excerpts_end_at_lines_and_fill_the_total():
    many = [Document(name=f"d{i}", text="".join(f"line {j} of {i}\n" for j in range(300))) for i in range(60)]
    found = excerpts(many, total_bytes=20_000, document_bytes=1_000)
    originals = {d.name: d.text for d in many}
    assert 19_900 < sum(d.bytes for d in found) <= 20_000
    for d in found:
        assert originals[d.name].startswith(d.text)
        assert d.text.endswith("\n")
        assert d.bytes <= 1_000
    assert [d.name for d in found] == sorted(d.name for d in found)
