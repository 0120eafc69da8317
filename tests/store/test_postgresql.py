"""The same store on PostgreSQL. Needs KBIT_TEST_POSTGRESQL, the URL of a database that may be written to."""

import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
from sqlalchemy import create_engine

from kbit.errors import StoreError
from kbit.store import Store, identity, open_store
from kbit.store.connect import parse_url
from kbit.store.migrations import LATEST

URL = os.environ.get("KBIT_TEST_POSTGRESQL", "")
pytestmark = [
    pytest.mark.skipif(not URL, reason="needs a PostgreSQL database: KBIT_TEST_POSTGRESQL=postgresql://…"),
    pytest.mark.skipif(
        importlib.util.find_spec("psycopg") is None, reason="needs psycopg (kbit[postgresql])"
    ),
]


def execute(statement: str) -> None:
    engine = create_engine(parse_url(URL))
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.fixture
def store() -> Iterator[Store]:
    execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with open_store(URL, create=True) as opened:
        yield opened


def test_put_get_replace(store: Store, make: SimpleNamespace) -> None:
    good, failed = make.measurement(created_at="2026-01-01"), make.failed()
    assert [store.put([m]) for m in (failed, good, failed)] == [1, 1, 0]
    assert store.get(identity(good.subject, good.probe)) == (good,)
    store.set_planned("s", [(identity(good.subject, good.probe), good.metric)])
    (row,) = store.rows("s")
    assert (row["bits"], row["bytes"], row["tokens"], row["studies"]) == (100.5, 60, 30, "s")


def test_claims(store: Store) -> None:
    assert store.claim("work", "elsewhere:1:1") is None
    assert store.claim("work", "elsewhere:2:2") == "elsewhere:1:1"
    store.release("work", "elsewhere:1:1")
    assert store.claim("work", "elsewhere:2:2") is None


def test_a_store_of_a_newer_kbit_or_of_something_else_is_refused(store: Store) -> None:
    execute(f"INSERT INTO schema_version VALUES ({LATEST + 1}, 'then', '99')")
    with pytest.raises(StoreError, match="Upgrade kbit"):
        open_store(URL)
    execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE recipes (name text)")
    with pytest.raises(StoreError, match="recipes"):
        open_store(URL, create=True)


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(StoreError, match="Check the store's address"):
        open_store("postgresql://127.0.0.1:1/none")


@pytest.mark.parametrize("processes", [3])
def test_processes_share_a_study(store: Store, processes: int) -> None:
    import subprocess
    import sys
    from pathlib import Path

    script = Path(__file__).parent.parent / "study" / "driver.py"
    command = [sys.executable, str(script), URL, "0.005"]
    execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")  # they make the tables too, at once
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(processes)]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    spec = importlib.util.spec_from_file_location("study_driver_postgresql", script)
    assert spec is not None
    assert spec.loader is not None
    driver: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    with open_store(URL) as fresh:
        rows = list(fresh.rows(gains=False, all_versions=True))
    assert sorted((r["identity"], r["metric"]) for r in rows) == sorted(driver.make_plan().keys)
