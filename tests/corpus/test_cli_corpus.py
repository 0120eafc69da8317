import json

import pytest

from kbit.cli.app import run
from kbit.corpus import content_hash, read_documents


@pytest.fixture
def texts(tmp_path):
    file = tmp_path / "texts.jsonl"
    lines = [{"name": f"t{i}", "text": " ".join(f"w{i * j}" for j in range(40)) + "\n"} for i in range(1, 41)]
    lines.append({"name": "copy", "text": lines[0]["text"]})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_figures_are_those_of_the_files(tmp_path, texts, capsys):
    out = tmp_path / "out"
    share = ["--held-out-share", "0.3"]
    assert run(["corpus", str(texts), "--out", str(out), *share, "--excerpt-bytes", "2000", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["read"]["documents"] == 41
    assert data["removed"] == {
        "exact duplicate": {"documents": 1, "bytes": data["removed"]["exact duplicate"]["bytes"]}
    }
    removed = json.loads((out / "removed.jsonl").read_text())
    assert (removed["name"], removed["found"]["kept"]) == ("copy", "t1")
    for part in ("training", "held_out", "excerpt"):
        found = list(read_documents([data[part]["path"]]))
        assert len(found) == data[part]["documents"]
        assert sum(d.bytes for d in found) == data[part]["bytes"]
        assert content_hash(found) == data[part]["hash"]
    assert data["training"]["documents"] + data["held_out"]["documents"] == 40
    assert run(["corpus", str(texts), "--out", str(out), *share]) == 0
    assert "removed 1 documents: exact duplicate" in capsys.readouterr().out
    assert run(["corpus", str(texts), "--out", str(out), "--held-out-share", "0.5"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(["corpus", str(texts), "--out", str(out), "--held-out-share", "0.5", "--overwrite"]) == 0


def test_options_reach_the_reading_and_the_cleaning(tmp_path, capsys):
    (tmp_path / "t.tsv").write_bytes("id\tbody\n1\té\x07 one two three\n2\tno\n".encode("latin-1"))
    options = [
        "--as",
        "tsv",
        "--field",
        "body",
        "--encoding",
        "latin-1",
        "--remove-controls",
        "--least-bytes",
        "5",
    ]
    options += ["--normal-form", "NFD", "--no-near-duplicates", "--held-out-share", "0", "--split-by", "name"]
    assert run(["corpus", str(tmp_path / "t.tsv"), "--out", str(tmp_path / "out"), *options, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    [document] = read_documents([tmp_path / "out" / "training"])
    assert (document.name, document.text) == ("1", "e\u0301 one two three")
    assert set(data["cleaned"]) == {"normal_form", "controls"}
    assert data["removed"]["too short"]["documents"] == 1


def test_what_is_no_text_is_refused_or_counted(tmp_path, capsys):
    (tmp_path / "t.txt").write_bytes(b"good \xff bad")
    arguments = ["corpus", str(tmp_path / "t.txt"), "--out", str(tmp_path / "out"), "--json"]
    assert run(arguments) == 1
    assert "t.txt, line 1: not UTF-8 at byte offset 5" in capsys.readouterr().err
    assert run([*arguments, "--invalid", "replace"]) == 0
    assert json.loads(capsys.readouterr().out)["read"]["characters_replaced"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "PATHs or --stdlib"),
        (["x", "--stdlib"], 2, "PATHs or --stdlib"),
        (["absent.txt"], 1, "no such text: absent.txt"),
        (["x", "--threshold", "0"], 2, "--threshold is 0"),
        (["x", "--held-out-share", "3"], 2, "--held-out-share is 3"),
    ],
)
def test_errors(tmp_path, capsys, arguments, code, said):
    assert run(["corpus", *arguments, "--out", str(tmp_path / "out")]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
