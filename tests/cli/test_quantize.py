"""`kbit quantize` from the command line."""

import importlib.util
import json
from pathlib import Path

import pytest

from kbit.cli.app import run
from kbit.models import stored_bits


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = Path(__file__).parent.parent / "models" / "tiny.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_models_tiny", path)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    return str(tiny.write_model(tmp_path_factory.mktemp("tiny") / "model", "llama"))


def test_json_has_the_promised_keys(model, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--format", "int3:b64", "--head", "int8", "--keep", "*.up_proj", "--keep", "*.o_proj"]
    assert run(["quantize", model, str(out), *arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    bits = stored_bits(out)
    assert data["stored_bits"] == bits.whole == bits.body + bits.embeddings
    assert data["body_bits_per_weight"] == pytest.approx(bits.body / bits.body_weights)
    assert data["whole_bits_per_weight"] == pytest.approx(bits.whole / bits.weights)
    assert data["size_bytes"] == sum(p.stat().st_size for p in out.iterdir())
    kept = {row["name"]: row["reason"] for row in data["kept_in_16_bits"]}
    assert kept.pop("model.embed_tokens.weight") == "embedding"
    assert set(kept.values()) == {"asked for"}
    assert len(kept) == 4
    assert data["packed_layers"] == 11
    assert (data["format"], data["head"], data["embeddings"]) == ("int3:b64", "int8:b64", None)
    assert data["method"]["name"] == "nearest"


def test_text_says_where_and_what_was_kept(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["quantize", model, str(out), "--format", "nf4"]) == 0
    said = capsys.readouterr().out
    assert str(out) in said
    assert "14 layers as nf4:b64" in said
    assert "not packed: lm_head.weight (output layer)" in said


def test_errors_are_told_with_their_code(model, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert run(["quantize", model, out, "--format", "nf44", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["type"] == "FormatError"
    assert "no data type 'nf44'" in captured.err
    assert run(["quantize", str(tmp_path / "none"), out, "--format", "nf4"]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert run(["quantize", model, out]) == 2
    assert run(["quantize", model, model, "--format", "nf4", "--overwrite"]) == 1
    assert "is the model that is read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
def test_a_real_model_keeps_its_voice(shared, tmp_path, capsys):
    model = str(shared / "data" / "models" / "stories260K")
    assert run(["quantize", model, str(tmp_path / "q"), "--format", "int8:b32", "--json"]) == 0
    capsys.readouterr()
    texts = []
    for folder in (model, str(tmp_path / "q")):
        arguments = ["--prompt", "Once upon a time", "--temperature", "0", "--max-new-tokens", "12"]
        assert run(["generate", folder, *arguments, "--dtype", "float32", "--json"]) == 0
        texts.append(json.loads(capsys.readouterr().out)["text"])
    assert texts[0] == texts[1]
    assert texts[0].startswith(", there was")
