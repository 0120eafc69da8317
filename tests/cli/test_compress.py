import json

import pytest

from kbit.cli.app import run

TEXT = "Es war einmal, 你好, once upon a time.\r\n" * 40


@pytest.fixture
def place(tmp_path):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    (tmp_path / "base.txt").write_bytes(TEXT.encode()[:500])
    return tmp_path


def both_ways(place, capsys, *options) -> dict:
    packed, back = place / "text.kbz", place / "back.txt"
    assert run(["compress", str(place / "text.txt"), "--out", str(packed), *options, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["compressed_bytes"] == packed.stat().st_size
    assert data["compressed_bytes"] <= 1.001 * data["code_bits"] / 8 + 16
    assert run(["decompress", str(packed), "--out", str(back), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == len(TEXT.encode())
    assert back.read_bytes() == TEXT.encode()
    return data


def test_a_coder_by_name(place, capsys):
    data = both_ways(place, capsys, "--coder", "kneser-ney-4", "--baseline-text", str(place / "base.txt"))
    assert data["coder"] == "kneser-ney-4"
    assert data["bytes"] == data["symbols"] == len(TEXT.encode())


def test_a_k_bit_model_quantised_on_the_way(place, tiny_family, capsys):
    options = ["--model", str(tiny_family[0]), "--format", "int4:b32", "--context", "32"]
    (place / "text.txt").write_bytes(TEXT.encode())
    data = both_ways(place, capsys, *options)
    assert data["coder"] == "small"
    wrong = ["--model", str(tiny_family[0]), "--context", "32"]
    assert run(["decompress", str(place / "text.kbz"), "--out", str(place / "no.txt"), *wrong]) == 1
    assert "another coder made this file" in capsys.readouterr().err
    assert not (place / "no.txt").exists()


def test_what_is_printed(place, capsys):
    packed = str(place / "t.kbz")
    assert run(["compress", str(place / "text.txt"), "--out", packed, "--coder", "kt-1"]) == 0
    assert "bits a byte" in capsys.readouterr().out
    assert run(["decompress", packed, "--out", str(place / "b.txt"), "--coder", "kt-1"]) == 0
    assert "given back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["text.txt", "--out", "o"], 2, "--coder NAME or --model MODEL"),
        (["text.txt", "--out", "o", "--coder", "kt-1", "--model", "m"], 2, "one of them"),
        (["text.txt", "--out", "o", "--coder", "kneser-ney-6"], 1, "--baseline-text"),
        (["text.txt", "--out", "o", "--coder", "kt-99"], 2, "kbit ls coders"),
        (["text.txt", "--out", "o", "--coder", "kt-1", "--context", "5"], 2, "--context is for --model"),
        (["text.txt", "--out", "text.txt", "--coder", "kt-1"], 2, "is the input itself"),
        (["absent", "--out", "o", "--coder", "kt-1"], 1, "cannot read absent"),
    ],
)
def test_errors(place, capsys, monkeypatch, arguments, code, said):
    monkeypatch.chdir(place)
    for command in ("compress", "decompress"):
        assert run([command, *arguments]) == code
        assert said in capsys.readouterr().err
        assert not (place / "o").exists()
    assert (place / "text.txt").read_bytes() == TEXT.encode()
