import csv
import io
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from kbit.errors import MissingExtraError, StudyError, UsageError
from kbit.study import export, format_of, to_csv

ROWS = [
    {"model": '红楼, "梦"', "gain": 0.1 + 0.2, "bits": 3, "reason": None, "nothing": None},
    {"model": "b\nc", "gain": None, "bits": 2**53 + 1, "reason": "no room", "nothing": None},
]


def test_csv_reads_back(tmp_path: Path) -> None:
    export(ROWS, tmp_path / "rows.csv")
    back = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text(encoding="utf-8"))))
    assert [row["model"] for row in back] == [row["model"] for row in ROWS]
    assert float(back[0]["gain"]) == ROWS[0]["gain"]
    assert int(back[1]["bits"]) == 2**53 + 1
    assert (back[1]["gain"], back[0]["reason"]) == ("", "")
    assert to_csv([]) == b""


def test_json_reads_back(tmp_path: Path) -> None:
    export(ROWS, tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == {"rows": ROWS}


def test_parquet_reads_back(tmp_path: Path) -> None:
    export(ROWS, tmp_path / "rows.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist() == ROWS


def test_parquet_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"kbit\[parquet\]"):
        export(ROWS, tmp_path / "rows.parquet")


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.csv"
    export(ROWS, file)
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StudyError, match="No space left"):
        export(ROWS[:1], file)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'parquet'"):
        format_of(Path("x"), "parket")
    with pytest.raises(UsageError, match="'xlsx'"):
        export(ROWS, tmp_path / "rows.xlsx")
    with pytest.raises(StudyError, match="cannot be written"):
        export(ROWS, tmp_path / "no" / "rows.csv")
    assert format_of(None, None) == format_of(Path("rows"), None) == "csv"
    assert format_of(Path("rows.JSON"), None) == "json"
