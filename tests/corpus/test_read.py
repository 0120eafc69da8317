import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.corpus import Document, content_hash, read_documents, write_documents
from kbit.errors import CorpusError


def read(*paths):
    return [(d.name, d.text) for d in read_documents(paths)]


def test_jsonl_names_ids_and_line_numbers(tmp_path):
    file = tmp_path / "some.jsonl"
    file.write_text('{"text": "a", "name": "first"}\n\n{"id": 7, "text": "b"}\n{"text": "c"}')
    assert read(file) == [("first", "a"), ("7", "b"), ("some.jsonl:4", "c")]


def test_plain_text_is_one_document_byte_for_byte(tmp_path):
    file = tmp_path / "novel.txt"
    content = "\ufeffChapter 1\r\n\r\n\tIt was…\r  \n".encode()
    file.write_bytes(content)
    [document] = read_documents([file])
    assert document.name == "novel.txt"
    assert document.text.encode() == content


def test_a_folder_is_read_sorted_and_recursively(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("2")
    (tmp_path / "a.jsonl").write_text('{"text": "1", "name": "one"}\n')
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    (tmp_path / "c.py").write_text("3")
    assert read(tmp_path) == [("one", "1"), ("b/two.txt", "2"), ("c.py", "3")]


def test_layout_does_not_change_the_hash(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in (("z", "你好"), ("a", "hello\n")):
        (folder / name).write_text(text)
    lines = tmp_path / "lines.jsonl"
    write_documents(lines, [Document(name="1", text="你好"), Document(name="2", text="hello\n")])
    assert content_hash(read_documents([folder])) == content_hash(read_documents([lines]))


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_is_written_is_read(texts, tmp_path_factory):
    file = tmp_path_factory.mktemp("written") / "t.jsonl"
    documents = [Document(name=f"n {i}", text=text) for i, text in enumerate(texts)]
    write_documents(file, documents)
    assert list(read_documents([file])) == documents


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.txt", b"good \xff bad", ["bad.txt", "offset 5", "0xff", "iconv"]),
        ("bad.jsonl", b'{"text": "a"}\n{"text": "\xc3("}\n', ["line 2", "UTF-8"]),
        ("bad.jsonl", b'{"text": "a"}\nplain\n', ["line 2", "not JSON", "column 1", ".txt"]),
        ("bad.jsonl", b'{"txt": "a"}\n', ["line 1", '"text"', "txt"]),
        ("bad.jsonl", b'["a"]\n', ["line 1", '"text"', "list"]),
        ("bad.jsonl", b'{"text": null}\n', ["line 1", '"text"']),
        ("bad.jsonl", b'{"text": "\\ud800"}\n', ["line 1", "surrogate"]),
    ],
)
def test_errors_name_file_place_and_remedy(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError) as error:
        list(read_documents([tmp_path / name]))
    for words in [name, *said]:
        assert words in str(error.value)


def test_a_missing_path_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "there.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"no such text: .*absent"):
        next(read_documents([tmp_path / "there.txt", tmp_path / "absent"]))


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="holds no files"):
        list(read_documents([tmp_path]))


def test_jsonl_of_other_writers(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"text": "é\u2028é", "meta": {"a": 1}}) + "\r\n", newline="")
    assert read(file) == [("x.jsonl:1", "é\u2028é")]


def test_the_shipped_text_has_a_name():
    found = list(read_documents(["ladder:held-out"]))
    assert len(found) == 47
    assert sum(d.bytes for d in found) == 65_534
    with pytest.raises(CorpusError, match="did you mean 'ladder:held-out'"):
        list(read_documents(["ladder:heldout"]))
