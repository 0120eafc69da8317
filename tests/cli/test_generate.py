"""`kbit generate` from the command line."""

import importlib.util
import io
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kbit.cli.app import run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = Path(__file__).parent.parent / "models" / "tiny.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_models_tiny", path)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate([*alphabet, "<|end|>"])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|end|>", eos_token="<|end|>")
    folder = tiny.write_model(tmp_path_factory.mktemp("tiny") / "model", "gpt2", vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_text_is_the_same_with_and_without_json(model, capsys):
    arguments = ["generate", model, "--prompt", "the hen", "--max-new-tokens", "9", "--seed", "4"]
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert captured.err == ""
    assert data["seed"] == 4
    assert data["new_tokens"] == len(data["tokens"]) <= 9
    assert data["prompt_tokens"] == 7
    assert (data["top_k"], data["temperature"], data["top_p"]) == (50, 1.0, 1.0)
    assert data["tokens_per_s"] > 0
    assert run(arguments) == 0
    assert capsys.readouterr().out == data["text"] + "\n"


def test_the_prompt_comes_from_standard_input(model, capsys, monkeypatch):
    given = "天地 hen"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode()), encoding="ascii"))
    assert run(["generate", model, "--prompt", "-", "--max-new-tokens", "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["prompt"] == given
    assert data["prompt_tokens"] == len(given.encode())


def test_errors_are_told_with_their_code(model, tmp_path, capsys, monkeypatch):
    assert run(["generate", model, "--prompt", "x" * 99]) == 1
    assert "the prompt is 99 tokens, and the model reads at most 64" in capsys.readouterr().err
    assert run(["generate", model, "--prompt", "x", "--top-p", "2"]) == 2
    assert "top_p must be" in capsys.readouterr().err
    assert run(["generate", model, "--prompt", "x", "--dtype", "float23"]) == 2
    assert "did you mean 'float32'" in capsys.readouterr().err
    assert run(["generate", str(tmp_path), "--prompt", "x"]) == 1
    assert "no tokeniser" in capsys.readouterr().err
    assert run(["generate", model]) == 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    assert run(["generate", model, "--prompt", "-"]) == 2
    assert "not UTF-8" in capsys.readouterr().err
