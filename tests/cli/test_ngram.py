import json

import numpy as np
import pytest

from kbit.cli.app import run
from kbit.coders import NgramCoder, baseline
from kbit.coders.saved import load_ngram, save_ngram
from kbit.coders.token_ngram import TokenNgramCoder
from kbit.corpus import Document
from kbit.errors import CoderError

TEXT = "the cat sat on the mat, 你好, and the dog on the cat. " * 20


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return tmp_path / "text.txt"


def bits(coder, text="the dog, a zebra\n"):
    [lengths] = coder.code_lengths([Document(name="d", text=text)])
    return lengths.bits


def test_saved_and_used_as_a_coder(tmp_path, text, capsys):
    out = tmp_path / "six.ngram"
    assert run(["ngram", str(text), "--out", str(out), "--arpa", str(tmp_path / "a.arpa"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["coder"] == "kneser-ney-6"
    assert data["size_bytes"] == out.stat().st_size
    fitted = NgramCoder.fit([Document(name="d", text=TEXT)])
    loaded = baseline(f"saved:{out}")
    assert isinstance(loaded.model.plain[6].keys, np.memmap)
    assert bits(loaded) == bits(fitted)
    assert loaded.settings == fitted.settings
    assert (tmp_path / "a.arpa").read_text().startswith("\\data\\\nngram 1=259\n")
    packed, back = tmp_path / "t.kbz", tmp_path / "back.txt"
    assert run(["compress", str(text), "--out", str(packed), "--coder", f"saved:{out}"]) == 0
    assert run(["decompress", str(packed), "--out", str(back), "--coder", f"saved:{out}"]) == 0
    assert back.read_bytes() == text.read_bytes()


def test_over_tokens(tmp_path, text, tiny_family, capsys):
    out = tmp_path / "tokens.ngram"
    arguments = ["ngram", str(text), "--out", str(out), "--order", "3", "--tokenizer", str(tiny_family[0])]
    assert run(arguments) == 0
    assert "kneser-ney-3-tokens" in capsys.readouterr().out
    loaded = load_ngram(out)
    assert isinstance(loaded, TokenNgramCoder)
    from kbit.models import load_tokenizer

    fitted = TokenNgramCoder.fit([Document(name="d", text=TEXT)], load_tokenizer(tiny_family[0]), order=3)
    assert bits(loaded) == bits(fitted)
    assert loaded.settings == fitted.settings


def test_another_model_is_a_baseline(tiny_family):
    coder = baseline(f"model:{tiny_family[0]}")
    assert coder.name == f"model:{tiny_family[0]}"
    assert bits(coder) > 0


def test_damaged_files_are_refused(tmp_path):
    save_ngram(tmp_path / "good", NgramCoder.fit([Document(name="d", text=TEXT)], order=3))
    content = (tmp_path / "good").read_bytes()
    for broken in (
        b"",
        b"abc",
        content[:100],
        content[:-8],
        b"\xff" * 64,
        content.replace(b"kbit.ngram", b"kbit.ngrom"),
    ):
        (tmp_path / "bad").write_bytes(broken)
        with pytest.raises(CoderError, match="n-gram"):
            load_ngram(tmp_path / "bad")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["text.txt"], 2, "--out FILE, --arpa FILE"),
        (["text.txt", "--out", "o", "--order", "9"], 2, "orders are 1 to 8"),
        (["absent.txt", "--out", "o"], 1, "no such text"),
        (["empty.txt", "--out", "o"], 1, "no bytes"),
    ],
)
def test_errors(tmp_path, text, capsys, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    assert run(["ngram", *arguments]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
