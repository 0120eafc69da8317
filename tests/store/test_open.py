import hashlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from kbit.errors import MissingExtraError, StoreError, UsageError
from kbit.store import open_store, schema
from kbit.store.connect import parse_url, place_of
from kbit.store.migrations import LATEST, MIGRATIONS


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


def make_newer(path: Path) -> None:
    open_store(path, create=True).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (?, 'then', '99')", [LATEST + 1])
    connection.close()


def make_damaged(path: Path) -> None:
    open_store(path, create=True).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996  # the page that lists the tables
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p.write_text("model,format\nrung-1,nf4\n"), "not an SQLite file"),
        (lambda p: p.write_bytes(b"SQLite format 3\x00" + b"rubbish" * 500), "damaged"),
        (lambda p: p.write_bytes(b"SQLite f"), "not an SQLite file"),
        (make_foreign, "recipes"),
        (make_newer, f"version {LATEST + 1}.*up to {LATEST}.*Upgrade kbit"),
        (make_damaged, "damaged"),
    ],
)
def test_what_is_no_store_is_refused_and_untouched(tmp_path: Path, prepare: object, message: str) -> None:
    path = tmp_path / "s.sqlite"
    prepare(path)  # type: ignore[operator]
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(StoreError, match=message):
            open_store(path, create=create)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"s.sqlite"}


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store .*study run"):
        open_store(tmp_path / "none.sqlite")
    with pytest.raises(StoreError, match="is a folder"):
        open_store(tmp_path, create=True)
    with pytest.raises(StoreError, match=r"there is no folder"):
        open_store(tmp_path / "no" / "s.sqlite", create=True)
    (tmp_path / "empty").touch()
    with pytest.raises(StoreError, match="is empty"):
        open_store(tmp_path / "empty")
    assert {p.name for p in tmp_path.iterdir()} == {"empty"}


@pytest.mark.parametrize("url", ["", "mysql://host/db", "sqlit:///x", "postgresql://host:none/db"])
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(StoreError):
        open_store(url)


def test_a_password_is_never_shown() -> None:
    place = place_of(parse_url("postgresql://me:secret@host/db"))
    assert "secret" not in place
    assert "host" in place


def test_postgresql_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"kbit\[postgresql\]"):
        open_store("postgresql://host/db")
    assert not issubclass(MissingExtraError, UsageError)


def test_migrations_give_the_tables_the_code_uses(tmp_path: Path) -> None:
    open_store(tmp_path / "migrated.sqlite", create=True).close()
    declared = create_engine("sqlite://")
    schema.metadata.create_all(declared)
    migrated = create_engine(f"sqlite:///{tmp_path / 'migrated.sqlite'}")

    def described(engine: object) -> dict[str, object]:
        found = inspect(engine)
        return {
            table: (
                [(c["name"], c["nullable"] or c["primary_key"]) for c in found.get_columns(table)],
                found.get_pk_constraint(table)["constrained_columns"],
                [u["column_names"] for u in found.get_unique_constraints(table)],
                sorted(
                    (f["constrained_columns"], f["referred_table"]) for f in found.get_foreign_keys(table)
                ),
            )
            for table in sorted(found.get_table_names())
        }

    assert described(migrated) == described(declared)
    migrated.dispose()


def test_the_first_migration_never_changes() -> None:
    # Stores in the world were made by it: a change of the tables is a new entry at the end.
    text = "\n".join(" ".join(statement.split()) for statement in MIGRATIONS[0])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "586d69866d808c17"


def test_an_unfinished_creation_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")  # all that a process killed this early has written
    connection.close()
    open_store(path, create=True).close()
    with open_store(path) as store:
        assert list(store.rows()) == []


def test_processes_that_create_a_store_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    go = tmp_path / "go"
    code = f"""
import time
from pathlib import Path
from kbit.store import open_store
while not Path({str(go)!r}).exists():
    time.sleep(0.001)
for _ in range(5):
    open_store({str(path)!r}, create=True).close()
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    go.touch()
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(LATEST,)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
