"""`kbit fit` from the command line."""

import json
from pathlib import Path

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
        ([], 2, "say which law"),
        (["--load", "x.json"], 2, "leave out --data"),
        (["--law", "power-law", "--column", "stored_bits=N", "--fix", "alpha=x"], 2, "takes a number"),
        (["--law", "power-law", "--column", "stored_bits=N", "--fix", "beta=1"], 1, "no parameter 'beta'"),
        (
            ["--law", "power-law", "--column", "stored_bits=N", "--unit", "stored_bits=pounds"],
            1,
            "cannot be in",
        ),
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


def test_a_fit_is_saved_and_loaded_to_predict(csv, tmp_path, capsys):
    out = tmp_path / "fit.json"
    common = ["fit", "--law", "power-law", "--data", csv, "--column", "stored_bits=N", "model=name",
              "--where", "epoch_excluded=0", "--resamples", "30", "--at", "stored_bits=1e9",
              "--save"]  # fmt: skip
    assert run([*common, str(out), "--compare", "interpolation", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["predicted"]["value"] == pytest.approx(1.5 + 30 * 1e9**-0.3, rel=1e-6)
    assert first["predicted"]["extrapolation"] == pytest.approx(10.0)
    assert [row["law"] for row in first["compared"]] == ["power-law", "interpolation"]
    assert run(["fit", "--load", str(out), "--at", "stored_bits=1e9", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["predicted"] == first["predicted"]
    assert again["data_hash"] == first["data_hash"]
    kept = Path(csv).read_text()
    assert run([*common, csv]) == 2
    assert "is the data" in capsys.readouterr().err
    assert Path(csv).read_text() == kept


def test_a_published_set_by_name_with_its_own_example(capsys):
    assert run(["ls", "data", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    example = rows["qllm-eval-lambada"]["example"].split()[1:]
    assert run([*example, "bits>=4", "--resamples", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 21
