"""`kbit finetune`: what it prints, and what it refuses before a step is done."""

import json
from pathlib import Path

import pytest

from kbit.cli.app import run

PAIRS = [{"prompt": f"say {word}:", "completion": f" {word}!"} for word in "abcdefghijklmnop"]
ROOMS = [
    {"text": f"room {n} is {'bad' if n % 3 else 'good'}", "label": str(int(n % 3 == 0))} for n in range(12)
]


def written(file: Path, rows) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def small(tiny_family, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tiny_family[0]


def asked(capsys, *words) -> tuple[int, dict, str]:
    code = run(["finetune", *map(str, words), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def test_an_adapter_that_other_commands_accept(small, tmp_path, capsys):
    data, out = written(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "out"
    words = (
        small,
        "--data",
        data,
        "--out",
        out,
        "--rank",
        2,
        "--epochs",
        2,
        "--held-out-share",
        0.3,
        "--threads",
        1,
    )
    code, told, talk = asked(capsys, *words)
    assert code == 0
    assert told["trained_parameters"] > 0
    assert told["examples"] + told["held_out"]["examples"] == len(PAIRS)
    assert told["held_out"]["gain_bits_per_byte"] > 0
    assert "memory" in talk
    assert "held out" in talk
    code, again, _ = asked(capsys, *words)
    assert (code, again["done_before"], again["run"]) == (0, True, told["run"])
    text = written(tmp_path / "text.jsonl", [{"text": "say a: a!"}])
    assert run(["measure", str(out), "--text", str(text), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert run(["measure", str(small), "--text", str(text), "--json"]) == 0
    base = json.loads(capsys.readouterr().out)
    assert measured["bits"] < base["bits"]
    assert measured["stored_bits"] == base["stored_bits"] + 32 * told["trained_parameters"]
    assert (
        run(["generate", str(out), "--prompt", "say b:", "--max-new-tokens", "3", "--seed", "1", "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["engine"] == "transformers"


def test_a_model_at_a_format_from_a_recipe(small, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('method = "full"\nepochs = 9.0\nimbalance = "weights"\nbatch_examples = 4\n')
    data, out = written(tmp_path / "rooms.jsonl", ROOMS), tmp_path / "out"
    code, told, _ = asked(
        capsys, small, "--data", data, "--held-out", data, "--out", out, "--recipe", recipe, "--epochs", 1,
        "--format", "int8:b64",
    )  # fmt: skip
    assert code == 0
    assert (told["tuning"]["method"], told["tuning"]["epochs"], told["tuning"]["imbalance"]) == (
        "full",
        1,
        "weights",
    )
    assert told["labels"] == {"0": 8, "1": 4}
    assert (
        run(["generate", str(out), "--prompt", "room", "--max-new-tokens", "2", "--seed", "1", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["engine"] == "core"


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ([*PAIRS, {"prompt": "x"}], (), r"data.jsonl:17: no 'completion'"),
        ([*PAIRS, {"prompt": "x", "completion": " "}], (), r"data.jsonl:17: 'completion' is empty"),
        ([{**room, "label": "1"} for room in ROOMS], (), "data.jsonl:1 to .*every label is '1'"),
        ([*PAIRS, {"prompt": "x" * 200, "completion": "y"}], (), r"data.jsonl:17: \d+ tokens"),
        (PAIRS, ("--method", "lora", "--format", "nf4"), "--merge"),
        (PAIRS, ("--rank", "0"), "rank is 0; it must be 1 or more"),
        (PAIRS, ("--recipe", "nowhere.toml"), "no such recipe: nowhere.toml"),
        (PAIRS, ("--threads", "0"), "--threads is 0"),
        (PAIRS, ("--longest-tokens", "4096"), "the model reads at most 128"),
    ],
)
def test_faults_are_told_before_training(small, tmp_path, capsys, rows, more, said):
    import re

    data = written(tmp_path / "data.jsonl", rows)
    code, told, _ = asked(capsys, small, "--data", data, "--out", tmp_path / "out", *more)
    assert code in (1, 2)
    assert re.search(said, told["error"]["message"]), told
    assert not (tmp_path / "out").exists()


def test_held_out_labels_must_be_those_of_training(small, tmp_path, capsys):
    data = written(tmp_path / "data.jsonl", ROOMS)
    held = written(tmp_path / "held.jsonl", [*ROOMS, {"text": "a hut", "label": "2"}])
    code, told, _ = asked(capsys, small, "--data", data, "--held-out", held, "--out", tmp_path / "out")
    assert code == 1
    assert "held.jsonl:13: the label '2' does not exist" in told["error"]["message"]


def test_peft_is_named_where_it_is_absent(small, tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    data = written(tmp_path / "data.jsonl", PAIRS)
    code, told, _ = asked(capsys, small, "--data", data, "--out", tmp_path / "out")
    assert code == 1
    assert "pip install 'kbit[peft]'" in told["error"]["message"]
