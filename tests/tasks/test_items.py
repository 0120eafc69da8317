"""Files of every layout as items, and what is said of bad ones."""

import bz2
import gzip
import json
import zipfile

import pytest

from kbit.errors import CorpusError, UsageError
from kbit.tasks import TASKS, find_task, listing
from kbit.tasks.items import filled, read_items
from kbit.tasks.kept import PROBLEMS, example_lines
from kbit.tasks.raw import Reading


def lines(path, *records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def items_of(name, *paths, **how):
    return read_items(find_task(name), paths, Reading(**how))


def test_every_task_has_a_row():
    rows = {row["name"]: row for row in listing()}
    assert set(rows) == set(TASKS)
    assert all(row["what"] and row["metrics"] and row["files"] for row in rows.values())
    assert all(TASKS[n].harness for n in ("lambada", "hellaswag", "piqa", "winogrande", "arc-easy", "boolq"))
    with pytest.raises(UsageError, match="did you mean 'translation'"):
        find_task("translate")


def test_translation_from_two_files(tmp_path):
    english, german = tmp_path / "x.en.gz", tmp_path / "x.de.gz"
    english.write_bytes(gzip.compress(b"A dog.\nTwo cats.\n"))
    german.write_bytes(gzip.compress(b"Ein Hund.\nZwei Katzen.\n"))
    items, language = items_of("translation", english, german)
    assert language == "de"
    assert items[1].prompt == "English: Two cats.\nGerman:"
    assert (items[1].references, items[1].given) == (("Zwei Katzen.",), "Two cats.")
    assert items[1].fields["continuation"] == " Zwei Katzen."
    assert items[1].source == f"{english}:2"
    items, _ = items_of("translation", english, german, template="{text} >", language="fr")
    assert items[0].prompt == "A dog. >"


def test_pairs_of_lines_must_match(tmp_path):
    (tmp_path / "x.en").write_text("a\nb\n")
    (tmp_path / "x.de").write_text("a\n")
    with pytest.raises(CorpusError, match=r"has 2 lines and .* 1"):
        items_of("translation", tmp_path / "x.en", tmp_path / "x.de")
    (tmp_path / "x.de").write_text("a\n\n")
    with pytest.raises(CorpusError, match=r"x\.de:2: an empty line"):
        items_of("translation", tmp_path / "x.en", tmp_path / "x.de")


def test_the_forms_of_finetune_do_for_every_written_task(tmp_path):
    file = lines(
        tmp_path / "a.jsonl",
        {
            "prompt": "Passage\nQ: who?\nA: ",
            "completion": ["Ann", "Anna"],
            "given": "Passage",
            "question": "who?",
        },
    )
    [item], _ = items_of("question-answering", file)
    assert item.prompt == "Passage\nQ: who?\nA: "
    assert (item.given, item.question, item.references) == ("Passage", "who?", ("Ann", "Anna"))
    assert item.fields["continuation"] == "Ann"
    talk = [{"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Ho"))]
    [item], _ = items_of("dialogue", lines(tmp_path / "b.jsonl", {"messages": talk}))
    assert item.prompt == "User: Hi\nAssistant:"
    assert item.fields["continuation"].strip() == "Ho"
    assert item.given == "Hi"


def test_labels_are_words(tmp_path):
    table = tmp_path / "hotel.csv"
    table.write_text('label,review\n1,"很好, 干净"\n0,太差\n')
    items, language = items_of("sentiment", table)
    assert language == "zh"
    assert items[0].prompt == "很好, 干净\n评价："
    assert (items[0].choices, items[0].gold, items[0].classes) == (("差评", "好评"), 1, ("0", "1"))
    items, _ = items_of("sentiment", table, words={"0": "坏", "1": "好"}, template="{text}：")
    assert (items[1].prompt, items[1].choices, items[1].gold) == ("太差：", ("坏", "好"), 0)
    own = lines(tmp_path / "own.jsonl", {"text": "x", "label": "yes"}, {"text": "y", "label": "no"})
    items, _ = items_of("classification", own)
    assert items[0].prompt == "x\nLabel:"
    assert (items[0].choices, items[0].gold) == ((" no", " yes"), 1)
    taught = lines(tmp_path / "taught.jsonl", {"text": "x", "label": "0"}, {"text": "y", "label": "1"})
    items, _ = items_of("sentiment", taught)  # as `kbit finetune` teaches it, not in words of our own
    assert (items[0].prompt, items[0].choices) == ("x\nLabel:", (" 0", " 1"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("label,review\n1,good\n0,\n", r"x\.csv:3: 'review' is empty"),
        ("label,review\n1,good\n1,fine\n", "every label is '1'"),
        ("label,text\n1,good\n0, \n", r"x\.csv:3: 'text' is empty"),
    ],
)
def test_bad_labels(tmp_path, content, told):
    table = tmp_path / "x.csv"
    table.write_text(content)
    with pytest.raises(CorpusError, match=told):
        items_of("sentiment", table)


def test_bad_records_may_be_left_out(tmp_path):
    table = tmp_path / "x.csv"
    table.write_text("label,review\n1,good\n0,\n0,bad\n")
    how = Reading(drop_bad=True)
    items, _ = read_items(find_task("sentiment"), [table], how)
    assert len(items) == 2
    assert "x.csv:3" in how.dropped[0]


def test_wrong_labels_and_words(tmp_path):
    own = lines(tmp_path / "own.jsonl", {"text": "x", "label": "yes"}, {"text": "y", "label": "no"})
    with pytest.raises(CorpusError, match=r"own\.jsonl:2: the label 'no' does not exist; allowed: yes, nope"):
        items_of("classification", own, words={"yes": " y", "nope": " n"})
    with pytest.raises(UsageError, match=r"\{txt\}, which is not known"):
        filled("{txt}", {"text": "x"})


def test_news_is_read_without_names_of_columns(tmp_path):
    table = tmp_path / "test.csv"
    table.write_text('"3","Oil #39;s up","Say\\&lt;b&gt;they&lt;/b&gt;"\n"4","Chips","New."\n')
    items, _ = items_of("topic", table)
    assert items[0].given == "Oil's up. Say they"
    assert (items[0].choices[items[0].gold], items[1].gold) == (" Business", 3)
    table.write_text('"5","Oil","x"\n')
    with pytest.raises(CorpusError, match=r"test\.csv:1: the class '5' does not exist"):
        items_of("topic", table)


def test_summaries_have_several_references(tmp_path):
    file = lines(tmp_path / "t.jsonl", {"source": ["One.", "Two."], "target": ["A", "", "B"], "title": "t"})
    [item], _ = items_of("summarisation", file)
    assert (item.given, item.references, item.prompt) == ("One. Two.", ("A", "B"), "One. Two.\nTL;DR:")
    file = lines(tmp_path / "d.jsonl", {"dialogue": "#P1#: hi", "summary1": "x", "summary2": "y"})
    assert items_of("summarisation", file)[0][0].references == ("x", "y")
    file = lines(tmp_path / "t.jsonl", {"source": ["One."], "target": [""]})
    with pytest.raises(CorpusError, match=r"t\.jsonl:1: 'target' holds no text"):
        items_of("summarisation", file)


def test_questions(tmp_path):
    file = tmp_path / "x.json"
    question = {"question": "who?", "answers": [{"text": "Ann"}, {"text": "Ann"}], "id": "1"}
    data = {"data": [{"paragraphs": [{"context": "Ann came.", "qas": [question]}]}]}
    file.write_text(json.dumps(data))
    [item], _ = items_of("question-answering", file)
    assert item.prompt == "Ann came.\nQ: who?\nA:"
    assert item.references == ("Ann",)
    question["answers"] = []
    file.write_text(json.dumps(data))
    with pytest.raises(CorpusError, match=r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: no answers"):
        items_of("question-answering", file)


def test_dialogues(tmp_path):
    file = tmp_path / "d.txt"
    file.write_text("Hi .__eou__Hello !__eou__How are you ?__eou__\t1\t2 3\n")
    [item], _ = items_of("dialogue", file)
    assert item.prompt == "Assistant: Hi .\nUser: Hello !\nAssistant:"
    assert item.references == ("How are you ?",)
    file.write_text("Hi .__eou__\n")
    with pytest.raises(CorpusError, match=r"d\.txt:1: a dialogue of one turn"):
        items_of("dialogue", file)


def test_multiple_choice(tmp_path):
    file = lines(tmp_path / "p.jsonl", {"query": "Question: how?\n", "choices": ["a", "b"], "gold": 1})
    [item], _ = items_of("piqa", file)
    assert (item.prompt, item.choices, item.gold) == ("Question: how?\nAnswer:", ("a", "b"), 1)
    file = lines(tmp_path / "p.jsonl", {"query": "q", "choices": ["a", "b"], "gold": 2})
    with pytest.raises(CorpusError, match=r"p\.jsonl:1: 'gold' is 2; it must be a number from 0 to 1"):
        items_of("piqa", file)
    six = tmp_path / "h.txt.bz2"
    six.write_bytes(bz2.compress(b"A man. he\n1\nruns\njumps [substep] high.\nsits\nfalls\n"))
    [item], _ = items_of("hellaswag", six)
    assert (item.prompt, item.choices[1], item.gold) == ("A man. he", "jumps high.", 1)


def test_minimal_pairs_and_stereotypes(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        pair = {"sentence_good": "He runs.", "sentence_bad": "He run.", "linguistics_term": "agreement"}
        archive.writestr("data/a.jsonl", json.dumps(pair) + "\n")
    [item], _ = items_of("blimp", tmp_path / "b.zip")
    assert (item.prompt, item.choices, item.group) == ("", ("He runs.", "He run."), "agreement")
    table = tmp_path / "c.csv"
    table.write_text("sent_more,sent_less,bias_type\nHe did.,She did.,gender\n")
    [item], _ = items_of("crows-pairs", table)
    assert (item.choices, item.group) == (("He did.", "She did."), "gender")
    (tmp_path / "pro_stereotyped_type1.txt.dev").write_text("1 [The nurse] left as [she] was ill.\n2 same\n")
    (tmp_path / "anti_stereotyped_type1.txt.dev").write_text("1 [The nurse] left as [he] was ill.\n2 same\n")
    [item], _ = items_of("winobias", tmp_path / "pro_stereotyped_type1.txt.dev")
    assert item.choices == ("The nurse left as she was ill.", "The nurse left as he was ill.")


def test_a_limit_is_a_draw_that_a_seed_repeats(tmp_path):
    file = lines(tmp_path / "a.jsonl", *({"prompt": str(i), "completion": "x"} for i in range(50)))
    first, again = (items_of("translation", file, limit=5, seed=1)[0] for _ in range(2))
    assert [i.prompt for i in first] == [i.prompt for i in again]
    assert sorted(int(i.name) for i in first) == [int(i.name) for i in first]
    assert [i.prompt for i in items_of("translation", file, limit=5, seed=2)[0]] != [i.prompt for i in first]


def test_examples_are_read_back_as_the_same_items(tmp_path):
    english, german = tmp_path / "x.en", tmp_path / "x.de"
    english.write_text("A dog.\nA cat.\n")
    german.write_text("Ein Hund.\nEine Katze.\n")
    items, _ = items_of("translation", english, german)
    out = tmp_path / "train.jsonl"
    out.write_bytes(example_lines(items))
    back, _ = items_of("translation", out, language="de")
    for one, other in zip(items, back, strict=True):
        assert (one.prompt, one.given) == (other.prompt, other.given)
        assert one.fields["continuation"] == other.fields["continuation"]


def test_our_own_problems_are_solved_by_their_solutions():
    from kbit.tasks.programs import Limits, program_of, run_program

    items, _ = items_of("code", PROBLEMS)
    assert len(items) == 20
    source = ""
    for item in items:
        source += program_of(item.prompt, item.references[0], item.fields["test"], item.fields["entry_point"])
        wrong = item.prompt + "    return None\n"
        source += f"\n{wrong}\ntry:\n    check({item.fields['entry_point']})\nexcept Exception:\n    pass\n"
        source += "else:\n    raise SystemExit('solved by nothing')\n"
    assert run_program(source, Limits()) == ("passed", "")


def test_missing_files_and_items_without_answers(tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        items_of("translation", tmp_path / "none.jsonl")
    file = lines(tmp_path / "p.jsonl", {"prompt": "q", "completion": "a"})
    with pytest.raises(CorpusError, match=r"p\.jsonl:1: no choices"):
        items_of("crows-pairs", file)
    with pytest.raises(CorpusError, match=r"p\.jsonl:1: no label"):
        items_of("sentiment", file)
