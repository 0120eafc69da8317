"""From a URL or a path to a connection: SQLite in WAL mode, or PostgreSQL."""

import contextlib
import importlib.util
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from kbit.errors import MissingExtraError, StoreError, did_you_mean

BUSY_TIMEOUT_S = 60
_MAGIC = b"SQLite format 3\x00"
_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg",
            "postgresql+psycopg": "postgresql+psycopg"}  # fmt: skip
_WRITES = {"kbit_writes": True}


def parse_url(url: str | Path) -> URL:
    """A bare path is a SQLite file; `sqlite:///FILE` and `postgresql://…` are taken as they are.

    Raises:
        StoreError: an empty path, a URL that cannot be read, or another kind of database.

    >>> parse_url("runs/ladder.sqlite").render_as_string()
    'sqlite:///runs/ladder.sqlite'
    >>> parse_url("postgresql://me@host/db").drivername
    'postgresql+psycopg'
    """
    given = str(url)
    if not given:
        raise StoreError(
            "the store has no name. Give a path such as study.sqlite, or postgresql://host/name."
        )
    scheme, separator, _ = given.partition("://")
    if not separator:
        return URL.create("sqlite", database=given)
    if scheme not in _SCHEMES:
        raise StoreError(
            f"a store cannot be a {scheme!r} database ({did_you_mean(scheme, sorted(_SCHEMES))}). "
            "Give a path, sqlite:///FILE or postgresql://HOST/NAME."
        )
    try:
        return sqlalchemy.make_url(given).set(drivername=_SCHEMES[scheme])
    except (ArgumentError, ValueError) as error:
        raise StoreError(
            f"the store's URL cannot be read: {error}. Write postgresql://USER@HOST/NAME."
        ) from error


def place_of(url: URL) -> str:
    """How messages name the store: a path, or the URL without its password."""
    if url.get_backend_name() == "sqlite":
        return f"the store {url.database or ':memory:'}"
    return f"the store {url.render_as_string(hide_password=True)}"


def make_engine(url: URL, *, create: bool) -> Engine:
    """An engine whose transactions are as the store needs them; a SQLite file is looked at first.

    Raises:
        StoreError: the file is missing (unless `create`), a folder, or not SQLite.
        MissingExtraError: PostgreSQL without its driver.
    """
    if url.get_backend_name() == "sqlite":
        _check_file(url, create=create)
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
        return engine
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtraError("postgresql", needed_for=place_of(url))
    return sqlalchemy.create_engine(url, pool_pre_ping=True)


@contextlib.contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn the database's errors into one that says what to do."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreError(f"{place}: {cause}. {_advice(cause)}") from error


def writing(engine: Engine) -> contextlib.AbstractContextManager[Connection]:
    """A transaction that will write: on SQLite it takes the write lock at its start: no deadlock."""
    return engine.execution_options(**_WRITES).begin()


def _check_file(url: URL, *, create: bool) -> None:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return
    path = Path(url.database)
    if path.is_dir():
        raise StoreError(f"the store {path} is a folder. Give a file in it, such as {path / 'study.sqlite'}.")
    if not path.exists():
        if not create:
            raise StoreError(
                f"there is no store {path}. `kbit study run STUDY.toml --store {path}` makes it; "
                "or check the path."
            )
        if not path.absolute().parent.is_dir():
            raise StoreError(
                f"the store {path} cannot be made: there is no folder {path.absolute().parent}. "
                "Make it first."
            )
        return
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be read: {error.strerror}. Check its permissions."
        ) from error
    # An empty file is what a process killed at its very first write leaves; SQLite takes it for a new one.
    if head and head != _MAGIC:
        raise StoreError(
            f"{path} is no kbit store: it is not an SQLite file. It was left as it is; give another path."
        )
    if not head and not create:
        raise StoreError(
            f"{path} is empty, not a kbit store. It was left as it is; give the path of a store."
        )


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions of its own: `_on_sqlite_begin` does, and says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("kbit_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _advice(cause: str) -> str:
    low = cause.lower()
    if "locked" in low or "busy" in low:
        return f"Another process held it for {BUSY_TIMEOUT_S} s; try again when it is done."
    if "malformed" in low or "not a database" in low:
        return "The file is damaged and was left as it is; restore a copy, or use a new store."
    if "readonly" in low or "read-only" in low or "unable to open" in low or "full" in low:
        return "Check the folder's permissions and the space left on its disk."
    return "Check the store's address and that the database answers."
