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
    assert data["kept"] == 40
    assert data["dropped"] == [{"name": "copy", "kept": "t1", "similarity": 1.0}]
    for part in ("training", "held_out", "excerpt"):
        found = list(read_documents([data[part]["path"]]))
        assert len(found) == data[part]["documents"]
        assert sum(d.bytes for d in found) == data[part]["bytes"]
        assert content_hash(found) == data[part]["hash"]
    assert data["training"]["documents"] + data["held_out"]["documents"] == 40
    assert run(["corpus", str(texts), "--out", str(out), *share]) == 0
    assert "dropped copy: 100% of it is in t1" in capsys.readouterr().out


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
