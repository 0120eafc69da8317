import csv
import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType

import pytest

from kbit.cli.app import run as kbit
from kbit.store import open_store
from kbit.study import run

STUDY = """\
name = "driver"
models = ["m"]
formats = ["bf16"]
texts = ["t.txt"]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path / "s.toml"


@pytest.fixture(scope="module")
def driver() -> ModuleType:
    script = Path(__file__).parent.parent / "study" / "driver.py"
    spec = importlib.util.spec_from_file_location("study_driver_cli", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def store(tmp_path: Path, driver: ModuleType) -> Path:
    with open_store(tmp_path / "s.sqlite", create=True) as opened:
        run(driver.make_plan(), opened, measure=driver.measure)
    return tmp_path / "s.sqlite"


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("plan none.toml", 1, "cannot be read"),
        ("plan s.toml", 1, "no such text"),
        ("run s.toml --store x.sqlite --limit 0", 2, "--limit 0"),
        ("run s.toml", 2, "--store"),
        ("run s.toml --store", 2, "--store"),
        ("run s.toml --store s.toml", 1, "not an SQLite file"),
        ("run s.toml --store mysql://h/d", 1, "cannot be a 'mysql'"),
        ("status s.toml --store x.sqlite", 1, "there is no store"),
        ("export s.toml --store x.sqlite", 1, "there is no store"),
        ("export s.toml --store x.sqlite --format xlsx", 2, "no export format 'xlsx'"),
        ("export s.toml --store x.sqlite --format parquet", 2, "needs --out"),
        ("exprt s.toml", 2, "export"),
    ],
)
def test_errors(
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(study.parent)
    assert kbit(["study", *command.split(), "--json"]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert message in json.loads(out)["error"]["message"]
    assert sorted(p.name for p in study.parent.iterdir()) == ["s.toml"]


def test_export(study: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["study", "export", str(study), "--store", str(store)]
    assert kbit(call) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 104
    assert {row["model"] for row in rows} == {f"rung-{i}" for i in range(4)}
    assert kbit([*call, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["identity"] for row in data["rows"]] == [row["identity"] for row in rows]
    assert data["rows"][0]["gain"] is None
    for ending in ("csv", "json", "parquet"):
        out = study.parent / f"rows.{ending}"
        assert kbit([*call, "--out", str(out)]) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f"104 rows written to {out}" in captured.err
    assert json.loads((study.parent / "rows.json").read_text())["rows"] == data["rows"]
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(study.parent / "rows.parquet").to_pylist() == data["rows"]


def test_export_of_a_study_the_store_does_not_hold(
    study: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_text(STUDY.replace("driver", "another"))
    assert kbit(["study", "export", str(study), "--store", str(store)]) == 1
    assert "no study 'another'; it holds: driver" in capsys.readouterr().err
