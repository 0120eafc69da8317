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


def test_counted_items_give_intervals_and_ties_and_the_worth_of_a_bit(csv, capsys, tmp_path):
    shares = tmp_path / "shares.csv"
    lines = ["family,N,w_bits,accuracy"]
    for n in (1e6, 1e7, 1e8, 1e9):
        lines += [f"f,{n},{k},{0.08 * n**0.1 * loss}" for k, loss in ((16, 1), (8, 1), (4, 0.99))]
    shares.write_text("\n".join(lines))
    given = ["frontier", "--data", str(shares), "--column", "params=N", "bits=w_bits"]
    assert run([*given, "--items", "500", "--json"]) == 0
    few = json.loads(capsys.readouterr().out)
    assert run([*given, "--items", "100000000", "--json"]) == 0
    many = json.loads(capsys.readouterr().out)
    assert few["total"]["ties"] > many["total"]["ties"]
    point = few["families"]["f"]["points"][0]
    assert point["ci95"][0] < point["value"] < point["ci95"][1]
    assert "Wilson" in " ".join(few["assumptions"])
    worth = {(w["fewer"], w["more"]): w for w in many["families"]["f"]["bit_worth"]}
    assert worth["8", "16"]["factor"] == pytest.approx(1.0)
    assert worth["8", "16"]["pays"] is False
    # 1% of accuracy that grows with N^0.1 is 1.01^10 of the parameters, over four bits
    assert worth["4", "8"]["factor"] == pytest.approx((1 / 0.99) ** (10 / 4), rel=0.02)
    assert run([*given, "--items", "500"]) == 0
    assert "what one more bit is worth" in capsys.readouterr().out


def test_the_best_k_of_a_saved_fit(tmp_path, capsys):
    data = tmp_path / "gains.csv"
    lines = ["model,params,bits,gain"]
    for i in range(9):
        n = 1e5 * 10 ** (i / 2)
        lines += [f"m{i},{n},{k},{3 - 20 * n**-0.3 - lost + 1e-4 * ((i * 7 + k) % 5 - 2)}"
                  for k, lost in ((2, 0.4), (4, 0.05), (8, 0.0))]  # fmt: skip
    data.write_text("\n".join(lines))
    saved = str(tmp_path / "fit.json")
    assert run(["fit", "--law", "offset-by-bits", "--data", str(data), "--resamples", "50", "--starts", "8",
                "--save", saved]) == 0  # fmt: skip
    capsys.readouterr()
    assert run(["frontier", "--fit", saved, "--stored-bits", "1e7", "1e12", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [at["k"] for at in answer["sizes"]] == [4.0, 8.0]
    assert answer["moves"] is True
    assert answer["change_ci95"][0] > 0
    assert run(["frontier", "--fit", saved]) == 0
    assert "k*" in capsys.readouterr().out
    assert run(["frontier", "--fit", saved, "--data", str(data)]) == 2
    assert "leave out --data" in capsys.readouterr().err
    assert run(["frontier", "--data", str(data), "--stored-bits", "1e7"]) == 2
    assert "for --fit" in capsys.readouterr().err
