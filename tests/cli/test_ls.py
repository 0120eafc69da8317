import json

import pytest

from kbit.cli.app import run as kbit
from kbit.cli.ls import NOUNS


@pytest.mark.parametrize("noun", NOUNS)
def test_every_row_has_a_name_of_its_own(noun, capsys):
    assert kbit(["ls", noun, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in data["rows"]]
    assert len(set(names)) == len(names)
    assert (data["note"] is None) == bool(names)


@pytest.mark.parametrize(
    ("noun", "name"),
    [
        ("formats", "nf4"), ("methods", "nearest"), ("laws", "power-law"), ("laws", "interpolation"),
        ("coders", "kneser-ney-6"), ("coders", "uniform"), ("data", "ladder:held-out"),
    ],
)  # fmt: skip
def test_known_rows_are_there(noun, name, capsys):
    assert kbit(["ls", noun, "--json"]) == 0
    assert name in [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert kbit(["ls", noun]) == 0
    assert name in capsys.readouterr().out


def test_formats_stand_beside_shannon(capsys):
    kbit(["ls", "formats", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert all(row["gaussian_mse"] > row["shannon_mse"] for row in rows if row["gaussian_mse"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["frmats"], "did you mean 'formats'?"),
        (["weights"], "there is no list of 'weights'"),
        (["formats", "somewhere"], "takes no path"),
        (["models", "no-such-folder"], "no-such-folder is no folder"),
    ],
)
def test_errors(call, message, capsys):
    assert kbit(["ls", *call, "--json"]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert message in json.loads(out)["error"]["message"]


def test_tasks_are_listed_with_their_metrics(capsys):
    assert kbit(["ls", "tasks", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert {"translation", "summarisation", "sentiment", "lambada"} <= rows.keys()
    assert "bleu" in str(rows["translation"]).lower()


def test_models_below_a_folder(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "a" / "tiny")
    assert kbit(["ls", "models", str(tmp_path), "--json"]) == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out)["rows"] if r["name"] == "tiny"]
    body = 4 * 32 * 32 + 3 * 32 * 64 + 3 * 32  # attention, feed-forward, three norms
    assert row["body_parameters"] == body
    assert row["parameters"] == body + 64 * 32
    assert row["path"] == str(tmp_path / "a" / "tiny")
