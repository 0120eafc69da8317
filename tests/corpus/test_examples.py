import gzip
import json

import pytest

from kbit.corpus import ExampleFields, Message, read_examples
from kbit.errors import CorpusError, UsageError


def lines(path, *records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def test_the_three_forms_are_told_from_their_fields(tmp_path):
    [asked] = read_examples([lines(tmp_path / "a.jsonl", {"prompt": "2+2=", "completion": "4", "id": 7})])
    assert (asked.form, asked.prompt, asked.completion) == ("completion", "2+2=", "4")
    assert (asked.fields, asked.source) == ({"id": 7}, f"{tmp_path}/a.jsonl:1")

    good, bad = read_examples(
        [lines(tmp_path / "b.jsonl", {"text": "好", "label": 1}, {"text": "坏", "label": " 0 "})]
    )
    assert (good.form, good.prompt, good.label, good.target, bad.label) == ("label", "好", "1", "1", "0")

    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    [spoken] = read_examples([lines(tmp_path / "c.jsonl", {"messages": talk})])
    assert spoken.form == "chat"
    assert spoken.messages == (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))
    assert spoken.target == "Hello"


def test_several_right_answers_and_an_empty_prompt(tmp_path):
    [one] = read_examples([lines(tmp_path / "a.jsonl", {"prompt": "", "completion": ["Paris", "paris"]})])
    assert (one.prompt, one.completions, one.completion) == ("", ("Paris", "paris"), "Paris")


def test_fields_are_chosen_and_blank_lines_counted(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text('\ufeff{"q": "x", "a": "y"}\n\n{"q": "z", "a": "w"}\n')
    found = read_examples([file], names=ExampleFields(prompt="q", completion="a"))
    assert [(e.source.rsplit(":")[-1], e.prompt) for e in found] == [("1", "x"), ("3", "z")]


def test_tables_with_and_without_names_of_columns_packed_or_not(tmp_path):
    table = tmp_path / "reviews.csv"
    table.write_text('label,text\n1,"two\nlines"\n0,short\n')
    found = read_examples([table])
    assert [(e.label, e.prompt) for e in found] == [("1", "two\nlines"), ("0", "short")]
    assert [e.source.rsplit(":")[-1] for e in found] == ["2", "4"]
    bare = tmp_path / "bare.tsv.gz"
    bare.write_bytes(gzip.compress(b"sport\tgoal\nworld\tvote\n"))
    found = read_examples([bare], names=ExampleFields(columns=("label", "text")))
    assert [(e.label, e.prompt) for e in found] == [("sport", "goal"), ("world", "vote")]


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([{"prompt": "a", "completion": "b"}, {"prompt": "c"}], ":2: no 'completion' (fields: prompt)"),
        (
            [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "  "}],
            ":2: 'completion' is empty",
        ),
        ([{"prompt": "a", "completion": ["b", ""]}], ":1: 'completion' is empty"),
        ([{"prompt": "a", "completion": []}], ":1: 'completion' is an empty list"),
        ([{"prompt": "a", "completion": 4}], ":1: 'completion' is no text but a int"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": None}], ":2: no 'label'"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], ":2: every label is 'x'"),
        ([{"text": "", "label": "x"}, {"text": "b", "label": "y"}], ":1: 'text' is empty"),
        ([{"text": "a", "label": 1.5}], ":1: 'label' is no text but a float"),
        ([{"messages": []}], ":1: 'messages' is no list of messages"),
        ([{"messages": [{"role": "user", "content": "x"}]}], ":1: the last message is the user's"),
        ([{"messages": [{"role": "robot", "content": "x"}]}], "message 1 has the role 'robot'"),
        ([{"messages": [{"role": "assistant", "content": ""}]}], ":1: 'content' is empty"),
        ([{"prompt": "\ud800", "completion": "b"}], "lone surrogate"),
        ([{"question": "a"}], ":1: fields question, which make no example"),
        ([], "no examples"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path, records, told):
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(CorpusError) as error:
        read_examples([file])
    assert told in str(error.value)
    assert "bad.jsonl" in str(error.value)


def test_wrong_labels_and_long_examples(tmp_path):
    file = lines(tmp_path / "x.jsonl", {"text": "ab", "label": "pos"}, {"text": "abc", "label": "psitive"})
    with pytest.raises(CorpusError, match=r"x\.jsonl:2: the label 'psitive' does not exist; did you mean"):
        read_examples([file], labels=["pos", "positive"])
    with pytest.raises(CorpusError, match=r"x\.jsonl:2: 3 characters, more than the 2 allowed"):
        read_examples([file], length=lambda e: len(e.prompt), longest=2, unit="characters")
    assert len(read_examples([file], length=lambda e: len(e.prompt), longest=3)) == 2


def test_five_faults_are_told_and_the_others_counted(tmp_path):
    records = [{"prompt": "a", "completion": "b"}, *[{"prompt": "a"}] * 8]
    with pytest.raises(CorpusError) as error:
        read_examples([lines(tmp_path / "x.jsonl", *records)])
    told = str(error.value)
    assert [f"x.jsonl:{n}:" in told for n in range(1, 8)] == [False] + [True] * 5 + [False]
    assert "And 3 more" in told


def test_broken_json_ragged_rows_other_files_and_forms(tmp_path):
    broken = tmp_path / "x.jsonl"
    broken.write_text('{"prompt": "a", "completion": "b"}\n{"prompt\n')
    with pytest.raises(CorpusError, match=r"x\.jsonl:2: not JSON"):
        read_examples([broken])
    ragged = tmp_path / "x.csv"
    ragged.write_text("text,label\na,b\nc\n")
    with pytest.raises(CorpusError, match=r"x\.csv:3: 1 cells, where 2 are named"):
        read_examples([ragged])
    plain = tmp_path / "x.txt"
    plain.write_text("hello")
    with pytest.raises(CorpusError, match="examples lie in"):
        read_examples([plain])
    with pytest.raises(UsageError, match="did you mean 'label'"):
        read_examples([plain], form="labels")
