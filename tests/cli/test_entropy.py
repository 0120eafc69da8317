"""`kbit entropy` from the command line."""

import json

import pytest

from kbit.cli.app import run


def entropy(capsys, *arguments) -> dict:
    assert run(["entropy", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_counts_and_rates(capsys, tmp_path):
    (tmp_path / "a.txt").write_text("abcd" * 300)
    (tmp_path / "b.txt").write_text("dcba" * 300)
    found = entropy(capsys, tmp_path / "a.txt", tmp_path / "b.txt", "--support", "4")
    assert (found["bytes"], found["symbols"], found["distinct"]) == (2400, 2400, 4)
    counts = {row["estimator"]: row for row in found["counts"]}
    assert counts["plug-in"]["bits_per_symbol"] == pytest.approx(2.0)
    assert counts["nsb"]["bits_per_symbol"] == pytest.approx(2.0, abs=0.01)
    rates = {row["estimator"]: row["bits_per_symbol"] for row in found["rates"]}
    assert rates["block-1"] == pytest.approx(2.0, abs=0.01)
    assert rates["block-2"] == pytest.approx(1.0, abs=0.01)  # forwards or backwards: one bit is left
    assert rates["match-length-mean"] < 0.2
    only = entropy(capsys, tmp_path / "a.txt", "--rate", "block-5", "--unit", "character")
    assert [row["estimator"] for row in only["rates"]] == ["block-5"]
    untold = next(row for row in only["counts"] if row["estimator"] == "nsb")
    assert (untold["bits_per_symbol"], "--support" in untold["reason"]) == (None, True)


def test_text_is_read_up_to_a_whole_character(capsys, tmp_path):
    (tmp_path / "z.txt").write_text("天地玄黄" * 50)
    found = entropy(capsys, tmp_path / "z.txt", "--unit", "character", "--most-bytes", "100")
    assert (found["bytes"], found["characters"], found["bytes_given"]) == (99, 33, 600)
    assert run(["entropy", str(tmp_path / "z.txt"), "--unit", "word"]) == 0
    assert "A word is 3.000 bytes on average." in capsys.readouterr().out


@pytest.mark.parametrize(("text", "arguments", "code", "told"), [
    ("", [], 2, "the text is empty"),
    ("a", [], 1, "at least 16"),
    ("abc" * 20, ["--rate", "block-99"], 2, "block-1 to block-8"),
    ("abc" * 20, ["--most-bytes", "-1"], 2, "--most-bytes is -1"),
    ("abc" * 20, ["--support", "2"], 2, "the support is 2"),
])  # fmt: skip
def test_errors(capsys, tmp_path, text, arguments, code, told):
    (tmp_path / "t.txt").write_text(text)
    assert run(["entropy", str(tmp_path / "t.txt"), *arguments]) == code
    assert told in capsys.readouterr().err
