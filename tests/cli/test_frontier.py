"""`kbit frontier` from the command line."""

import json

import pytest

from kbit.cli.app import run


@pytest.fixture
def csv(tmp_path):
    lines = ["family,N,w_bits,acc"]
    for n in (1e6, 1e7, 1e8, 1e9):
        # at equal stored bits the accuracy follows parameters, so fewer bits win, until 2 bits destroy
        lines += [f"f,{n},{k},{loss * n**0.1}" for k, loss in ((16, 1), (8, 1), (4, 0.99), (2, 0.5))]
    file = tmp_path / "points.csv"
    file.write_text("\n".join(lines))
    return str(file)


def test_wins_by_family_and_total(csv, capsys):
    columns = ["family=family", "params=N", "bits=w_bits", "accuracy=acc"]
    assert run(["frontier", "--data", csv, "--column", *columns, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    family = answer["families"]["f"]
    assert family["wins"]["4"] > 0.9 * family["comparisons"]
    assert answer["total"]["comparisons"] == family["comparisons"]
    assert answer["assumptions"]
    assert run(["frontier", "--data", csv, "--column", *columns]) == 0
    assert "best k at equal stored bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--column", "params=N"], 1, "which column is the value"),
        (["--column", "params=N", "value=ac"], 1, "did you mean 'acc'"),
        (["--column", "params=N", "accuracy=acc", "--grid", "1"], 2, "at least 2"),
        (["--column", "parms=N"], 1, "did you mean 'params'"),
    ],
)
def test_errors_name_the_remedy(csv, capsys, arguments, code, message):
    assert run(["frontier", "--data", csv, *arguments]) == code
    assert message in capsys.readouterr().err


def test_neither_file_nor_store(capsys):
    assert run(["frontier"]) == 2
    assert "--data FILE" in capsys.readouterr().err
