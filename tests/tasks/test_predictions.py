"""Answers are kept as they come; a run that is killed goes on; files are not mixed up."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from kbit.errors import UsageError
from kbit.tasks.item import Answer, Item
from kbit.tasks.predictions import answer_all, read_answers

ITEMS = [Item(name=str(i), source=f"x:{i}", prompt=f"p{i}", references=("r",)) for i in range(12)]
DRIVER = """
import sys, time
from pathlib import Path
from kbit.tasks.item import Answer, Item
from kbit.tasks.predictions import answer_all

items = [Item(name=str(i), source=f"x:{i}", prompt=f"p{i}", references=("r",)) for i in range(60)]

def work(wanted):
    for item in wanted:
        time.sleep(0.01)
        print(item.name, flush=True)
        yield [(item, Answer(text=f"answer {item.name}", choice_bits=(1.0, 2.0)))]

answer_all(items, work, file=Path(sys.argv[1]), settings={"model": "m"})
print("done")
"""


def answering(asked):
    def work(wanted):
        for item in wanted:
            asked.append(item.name)
            yield [(item, Answer(text=f"a{item.name}"))]

    return work


def test_only_missing_items_are_asked(tmp_path):
    file, asked = tmp_path / "p.jsonl", []

    def stops(wanted):
        yield from list(answering(asked)(wanted))[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_all(ITEMS, stops, file=file, settings={"model": "m"})
    assert len(read_answers(file)) == 5
    with file.open("ab") as out:
        out.write(b'{"item": "5", "ans')  # torn
    asked.clear()
    found = answer_all(ITEMS, answering(asked), file=file, settings={"model": "m"})
    assert asked == [str(i) for i in range(5, 12)]
    assert [a.text for a in found] == [f"a{i}" for i in range(12)]
    asked.clear()
    assert answer_all(ITEMS, answering(asked), file=file, settings={"model": "m"}) == found
    assert asked == []
    first = json.loads(file.read_text().splitlines()[1])
    assert (first["source"], first["prompt"], first["wanted"]) == ("x:0", "p0", ["r"])


def test_other_settings_items_or_files_are_refused(tmp_path):
    file = tmp_path / "p.jsonl"
    answer_all(ITEMS, answering([]), file=file, settings={"model": "m"})
    before = file.read_bytes()
    with pytest.raises(UsageError, match="answers of another model"):
        answer_all(ITEMS, answering([]), file=file, settings={"model": "n"})
    with pytest.raises(UsageError, match="answers of another model"):
        answer_all(ITEMS[1:], answering([]), file=file, settings={"model": "m"})
    assert file.read_bytes() == before
    file.write_text('{"text": "my novel"}\n')
    with pytest.raises(UsageError, match=r"p\.jsonl:1: no answers that kbit wrote"):
        answer_all(ITEMS, answering([]), file=file, settings={"model": "m"})
    assert file.read_text() == '{"text": "my novel"}\n'


def test_a_run_killed_again_and_again_ends_with_each_answer_once(tmp_path):
    file, chance = tmp_path / "p.jsonl", random.Random(3)
    counts = []
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(file)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        for _ in range(chance.randrange(2, 9)):
            child.stdout.readline()
        time.sleep(chance.uniform(0, 0.01))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        counts.append(len(read_answers(file)) if file.exists() else 0)
    assert counts == sorted(counts)
    assert 0 < counts[-1] < 60
    last = subprocess.run(
        [sys.executable, "-c", DRIVER, str(file)], capture_output=True, text=True, check=True
    )
    assert len(last.stdout.split()) == 60 - counts[-1] + 1
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    assert sorted(int(line["item"]) for line in lines) == list(range(60))
    assert all(line["answer"]["text"] == f"answer {line['item']}" for line in lines)
