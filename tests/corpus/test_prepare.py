"""The prepared corpus: what stays, what is told of the rest, and what a kill leaves behind."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from kbit.corpus import content_hash, read_documents
from kbit.corpus.clean import Cleaning, Filters
from kbit.corpus.deduplicate import deduplicate
from kbit.corpus.prepare import Preparation, prepare, remove_corpus
from kbit.corpus.read import ReadOptions
from kbit.errors import CorpusError, UsageError


def words(count: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return ["".join(chooser.choices("abcdefghij", k=6)) for _ in range(count)]


def write(path, texts):
    lines = (json.dumps({"name": name, "text": text}) + "\n" for name, text in texts)
    path.write_text("".join(lines))
    return path


def plain_texts(count: int = 120):
    """Texts of which some are copies, some nearly, some too short."""
    texts = []
    for i in range(count):
        own = words(60, i)
        if i % 10 == 3:
            own = words(60, i - 1)  # a copy
        if i % 10 == 7:
            own = [*words(60, i - 2)[:59], "changed"]
        texts.append((f"d{i}", " ".join(own) if i % 10 != 9 else "short"))
    return texts


def everything(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_what_stays_is_what_deduplicate_keeps(tmp_path):
    texts = plain_texts()
    file = write(tmp_path / "in.jsonl", texts)
    report = prepare(
        [file],
        tmp_path / "out",
        Preparation(filters=Filters(least_bytes=10), held_out_share=0.3, shard_bytes=9000),
    )
    expected = deduplicate(d for d in read_documents([file]) if d.bytes >= 10)
    parts = {p: list(read_documents([tmp_path / "out" / p])) for p in ("training", "held-out")}
    assert sorted(d.name for part in parts.values() for d in part) == sorted(d.name for d in expected.kept)
    assert report["read"] | {"characters_replaced": 0} == report["read"]
    assert report["read"]["documents"] == 120
    assert {r: v["documents"] for r, v in report["removed"].items()} == {
        "exact duplicate": 12, "near duplicate": 12, "too short": 12}  # fmt: skip
    for key, name in (("training", "training"), ("held_out", "held-out")):
        assert report[key]["documents"] == len(parts[name]) > 0
        assert report[key]["bytes"] == sum(d.bytes for d in parts[name])
        assert report[key]["hash"] == content_hash(parts[name])
    removed = [json.loads(line) for line in (tmp_path / "out" / "removed.jsonl").read_text().splitlines()]
    assert len(removed) == 36
    near = {r["name"]: r["found"] for r in removed if r["reason"] == "near duplicate"}
    assert near == {
        d.name: {"kept": d.kept, "similarity": round(d.similarity, 6)}
        for d in expected.dropped
        if d.similarity < 1
    }
    exact = {r["name"]: r["found"]["kept"] for r in removed if r["reason"] == "exact duplicate"}
    assert exact == {d.name: d.kept for d in expected.dropped if d.similarity == 1}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert len(manifest["shards"]) > 2
    for shard in manifest["shards"]:
        content = (tmp_path / "out" / shard["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        assert len(content) == shard["bytes"]
    assert not (tmp_path / "out" / ".work").exists()


def test_the_split_is_stable_when_documents_are_added(tmp_path):
    texts = [(None, " ".join(words(20, i))) for i in range(200)]
    sides = []
    for number, some in enumerate((texts[50:], texts)):
        file = tmp_path / f"in{number}.jsonl"
        file.write_text("".join(json.dumps({"text": t}) + "\n" for _, t in some))
        prepare(
            [file],
            tmp_path / f"out{number}",
            Preparation(held_out_share=0.3, cleaning=Cleaning(controls=True)),
        )
        sides.append({d.text for d in read_documents([tmp_path / f"out{number}" / "held-out"])})
    assert sides[0] == sides[1] & {t for _, t in texts[50:]}
    assert 30 < len(sides[1]) < 90


def test_cleaning_and_replacing_are_counted(tmp_path):
    (tmp_path / "t.txt").write_bytes("naÃ¯ve\x07 ".encode() + b"\xff\xfe \n" + b"one two three\n" * 2)
    report = prepare(
        [tmp_path / "t.txt"],
        tmp_path / "out",
        Preparation(
            reading=ReadOptions(replace=True),
            cleaning=Cleaning(fix_text=True, controls=True, repeated_lines=True),
            held_out_share=0,
        ),
    )
    assert report["read"]["characters_replaced"] == 2
    assert {k: v["documents"] for k, v in report["cleaned"].items()} == {
        "fix_text": 1, "controls": 1, "repeated_lines": 1}  # fmt: skip
    [document] = read_documents([tmp_path / "out" / "training"])
    assert document.text == "naïve \ufffd\ufffd \none two three\n"


def test_contamination_is_told_and_removed_when_asked(tmp_path):
    test = write(
        tmp_path / "test.jsonl", [("t0", " ".join(words(40, 500))), ("t1", " ".join(words(40, 501)))]
    )
    texts = [(f"d{i}", " ".join(words(40, i))) for i in range(10)]
    texts.append(("leak", " ".join(words(10, 77) + words(40, 500)[5:30])))
    file = write(tmp_path / "in.jsonl", texts)
    base = {"test_texts": (str(test),), "held_out_share": 0}
    told = prepare([file], tmp_path / "told", Preparation(**base))
    assert told["training"]["documents"] == 11
    found = told["contamination"]
    assert (found["documents_touched"], found["runs_found"], found["runs"]) == (1, 13, 56)
    assert found["documents"][0]["source"] == "leak"
    gone = prepare([file], tmp_path / "gone", Preparation(**base, remove_contaminated=True))
    assert gone["training"]["documents"] == 10
    assert gone["removed"]["contaminated"]["documents"] == 1


def test_a_finished_corpus_is_left_and_another_refused(tmp_path):
    file = write(tmp_path / "in.jsonl", plain_texts(20))
    first = prepare([file], tmp_path / "out")
    before = everything(tmp_path / "out")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert prepare([file], tmp_path / "out") == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == stamps
    with pytest.raises(CorpusError, match="other texts or settings"):
        prepare([file], tmp_path / "out", Preparation(held_out_share=0.5))
    write(file, plain_texts(21))
    with pytest.raises(CorpusError, match="--overwrite"):
        prepare([file], tmp_path / "out")
    remove_corpus(tmp_path / "out")
    write(file, plain_texts(20))
    prepare([file], tmp_path / "out")
    after = everything(tmp_path / "out")
    assert {k: v for k, v in after.items() if k.startswith("training")} == {
        k: v for k, v in before.items() if k.startswith("training")
    }


def test_places_that_are_refused(tmp_path):
    file = write(tmp_path / "in.jsonl", plain_texts(20))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(CorpusError, match="holds something else"):
        prepare([file], tmp_path / "mine")
    with pytest.raises(CorpusError, match="no corpus of kbit"):
        remove_corpus(tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").exists()
    for paths, out in (
        ([tmp_path], tmp_path / "out"),
        ([tmp_path / "mine"], tmp_path / "mine"),
        ([file], file),
    ):
        with pytest.raises(UsageError, match="lie in each other"):
            prepare(paths, out)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(CorpusError, match="damaged"):
        prepare([file], tmp_path / "out")


@pytest.mark.parametrize(
    "setting", [{"threshold": 0}, {"held_out_share": 2}, {"split_by": "x"}, {"shard_bytes": 0}]
)
def test_settings_out_of_range(setting):
    with pytest.raises(UsageError):
        Preparation(**setting)


def test_an_error_half_way_leaves_nothing_that_looks_whole(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "' + "good " * 50 + '"}\n{"txt": "bad"}\n')
    with pytest.raises(CorpusError, match="line 2"):
        prepare([tmp_path / "bad.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / "training").exists()


def test_documents_without_text_and_of_one_byte(tmp_path):
    file = write(tmp_path / "in.jsonl", [("a", ""), ("b", "x"), ("c", " "), ("d", "x")])
    report = prepare([file], tmp_path / "out", Preparation(held_out_share=0))
    assert report["training"]["documents"] == report["training"]["bytes"] == 1
    assert {r: v["documents"] for r, v in report["removed"].items()} == {"empty": 2, "exact duplicate": 1}
    nothing = write(tmp_path / "none.jsonl", [])
    assert prepare([nothing], tmp_path / "none")["training"]["documents"] == 0


SLOWED = """
import sys, time
from kbit.corpus import prepare as module
from kbit.corpus.clean import Cleaning, Filters
from kbit.corpus.read import ReadOptions
module.CHECKPOINT_BYTES = 2000
take = module._take
def slow(*arguments):
    time.sleep(0.004)
    take(*arguments)
module._take = slow
module.prepare(
    sys.argv[2:], sys.argv[1],
    module.Preparation(filters=Filters(least_bytes=10), reading=ReadOptions(replace=True),
                       cleaning=Cleaning(controls=True), shard_bytes=5000))
"""


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path):
    files = []
    for number in range(3):
        file = write(tmp_path / f"in{number}.jsonl", plain_texts(100)[number * 30 : number * 30 + 40])
        file.write_bytes(file.read_bytes().replace(b"changed", b"chan\xffged\\u0007"))
        files.append(str(file))
    settings = Preparation(
        filters=Filters(least_bytes=10), reading=ReadOptions(replace=True), cleaning=Cleaning(controls=True),
        shard_bytes=5000,
    )  # fmt: skip
    # Read under the same path: it is part of the identity.
    expected = prepare(files, tmp_path / "whole", settings)
    out, chooser, progress = tmp_path / "out", random.Random(0), []
    state = out / ".work" / "state.json"
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", SLOWED, str(out), *files])
        before = state.stat().st_mtime_ns if state.exists() else None
        # Only once it has got further than the run before: a kill while it starts would show nothing.
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(chooser.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        progress.append(json.loads(state.read_bytes())["progress"])
        assert not (out / "manifest.json").exists()
    assert progress[-1]["counts"]["documents"] > progress[0]["counts"]["documents"] > 0
    subprocess.run([sys.executable, "-c", SLOWED, str(out), *files], check=True, timeout=100)
    ours, theirs = everything(out), everything(tmp_path / "whole")
    assert set(ours) == set(theirs)
    for name in set(ours) - {"report.json"}:
        assert ours[name] == theirs[name], name
    report = json.loads(ours["report.json"])
    assert report["read"] == expected["read"]
    assert report["removed"] == expected["removed"]
    assert report["cleaned"] == expected["cleaned"]
