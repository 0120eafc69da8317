"""`kbit fit` from the command line."""

import json

import numpy as np
import pytest

from kbit.cli.app import run


@pytest.fixture
def csv(tmp_path):
    lines = ["name,N,bits_stored,loss,epoch_excluded"]
    lines += [f"m{i},{n},{n * 16},{1.5 + 30 * n**-0.3},0" for i, n in enumerate(np.geomspace(1e5, 1e8, 9))]
    lines.append("bad,1e9,16e9,9.9,1")
    file = tmp_path / "points.csv"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def test_fit_of_a_csv_with_columns_and_where(csv, capsys):
    assert run(["fit", "--law", "power-law", "--data", csv, "--column", "stored_bits=N", "loss=loss",
                "model=name", "--where", "epoch_excluded=0", "--resamples", "50", "--json"]) == 0  # fmt: skip
    answer = json.loads(capsys.readouterr().out)
    assert {"law", "parameters", "ci95", "objective", "held_out", "warnings"} <= set(answer)
    assert answer["parameters"]["alpha"] == pytest.approx(0.3, rel=1e-5)
    assert answer["rows"] == 9
    assert answer["held_out"]["models"] == ["m8"]


def test_words_go_to_stdout(csv, capsys):
    assert run(["fit", "--law", "power-law", "--data", csv, "--column", "stored_bits=N", "--where",
                "epoch_excluded=0", "--resamples", "20"]) == 0  # fmt: skip
    assert "held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--law", "power-lw"], 1, "did you mean 'power-law'"),
        (["--law", "power-law", "--column", "N"], 2, "NAME=VALUE"),
        (["--law", "power-law", "--column", "stored_bits=M"], 1, "no column 'M'"),
        (["--law", "power-law", "--column", "sze=N"], 1, "no role 'sze'"),
        (["--law", "power-law", "--where", "epoch_exclude=0"], 1, "did you mean 'epoch_excluded'"),
        (["--law", "power-law", "--holdout", "some"], 2, "--holdout"),
        (["--law", "power-law", "--store", "x.sqlite"], 2, "either as --data"),
        (["--law", "power-law", "--text", "x"], 2, "--text is for --store"),
    ],
)
def test_errors_name_the_remedy(csv, capsys, arguments, code, message):
    assert run(["fit", "--data", csv, *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_missing_or_broken_file(tmp_path, capsys):
    assert run(["fit", "--law", "power-law", "--data", str(tmp_path / "none.csv")]) == 1
    assert "there is no file" in capsys.readouterr().err
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b\n1,2\n3\n")
    assert run(["fit", "--law", "power-law", "--data", str(ragged)]) == 1
    assert "line 3" in capsys.readouterr().err


def test_json_and_parquet_tables_read_as_the_csv_does(tmp_path):
    import pyarrow
    import pyarrow.parquet

    from kbit.laws.files import read_table

    rows = [{"a": 1, "b": "x"}, {"a": 2.5, "b": None}]
    (tmp_path / "t.json").write_text(json.dumps({"rows": rows}))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    for name in ("t.json", "t.parquet", "t.jsonl"):
        assert read_table(tmp_path / name) == {"a": [1, 2.5], "b": ["x", None]}
