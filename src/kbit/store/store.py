"""The store: measurements put, found again, planned and claimed, each call one short transaction."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, delete, or_, select

import kbit
from kbit.errors import StoreError
from kbit.store import schema
from kbit.store.connect import make_engine, parse_url, place_of, translated, writing
from kbit.store.measurement import Measurement
from kbit.store.migrations import LATEST, migrate, now, version_of
from kbit.store.owner import is_alive
from kbit.store.read import read_measurements
from kbit.store.rows import HEADLINE_BASELINE, exported_rows
from kbit.store.write import insert_into, write_measurement

Key = tuple[str, str]  # identity, metric
_CHUNK = 500  # bound variables in one statement


def open_store(url: str | Path, *, create: bool = False) -> "Store":
    """Open a store of measurements, bringing its tables up to date.

    Args:
        url: a path, `sqlite:///FILE`, or `postgresql://USER@HOST/NAME`.
        create: make the file if it is missing. A missing PostgreSQL database is never made, its tables are.

    Raises:
        StoreError: no such store, something else under that name (left untouched), or a newer kbit's store.
    """
    parsed = parse_url(url)
    place = place_of(parsed)
    engine = make_engine(parsed, create=create)
    try:
        with translated(place):
            _prepare(engine, place, create=create)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, place)


def _prepare(engine: Engine, place: str, *, create: bool) -> None:
    # Look first and write only then: what is no store must not change by a byte.
    with engine.connect() as connection:
        version = version_of(connection, place)
    if version == 0 and not create and engine.dialect.name == "sqlite":
        raise StoreError(
            f"{place} is empty, not a kbit store. It was left as it is; give the path of a store."
        )
    if version == LATEST:
        return
    if engine.dialect.name == "sqlite":
        raw = engine.raw_connection()
        try:
            # WAL lets one process write while others read. It is a property of the file, set once.
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            raw.close()
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('kbit schema'))")
        migrate(connection, place, kbit=kbit.__version__)


class Store:
    """Measurements in a database; several processes may use one at the same time.

    A row is unique by identity and metric. A row that is ok is never changed; one that failed is replaced by
    the next attempt.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self.place = place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def put(self, measurements: Iterable[Measurement]) -> int:
        """Write measurements in one transaction: all of them, or after a crash none.

        Returns:
            How many rows were written; one that is there and ok already is left as it is and not counted.
        """
        with translated(self.place), writing(self._engine) as connection:
            return sum(write_measurement(connection, m, self.place) for m in measurements)

    def get(self, wanted: str) -> tuple[Measurement, ...]:
        """All metrics under an identity, with their parts; empty if it was not measured."""
        with translated(self.place), self._engine.connect() as connection:
            return tuple(read_measurements(connection, wanted))

    def states(self, identities: Iterable[str]) -> dict[Key, str]:
        """The status of each row there is under these identities, by identity and metric."""
        m, found = schema.measurement.c, {}
        wanted = sorted(set(identities))
        with translated(self.place), self._engine.connect() as connection:
            for start in range(0, len(wanted), _CHUNK):
                chosen = m.identity.in_(wanted[start : start + _CHUNK])
                for row in connection.execute(select(m.identity, m.metric, m.status).where(chosen)):
                    found[row.identity, row.metric] = row.status
        return found

    def set_planned(self, study: str, keys: Sequence[Key]) -> None:
        """Say which rows a study consists of; what an earlier plan of that name said is forgotten."""
        rows = [{"study": study, "identity": i, "metric": metric} for i, metric in dict.fromkeys(keys)]
        with translated(self.place), writing(self._engine) as connection:
            connection.execute(delete(schema.planned).where(schema.planned.c.study == study))
            if rows:
                connection.execute(insert_into(connection, schema.planned).on_conflict_do_nothing(), rows)

    def studies(self) -> list[str]:
        """Names of the studies that were run into this store."""
        with translated(self.place), self._engine.connect() as connection:
            found = connection.execute(select(schema.planned.c.study).distinct())
            return sorted(row.study for row in found)

    def rows(
        self,
        study: str | None = None,
        *,
        metric: str | None = None,
        baseline: str = HEADLINE_BASELINE,
        all_versions: bool = False,
        gains: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Measurements as flat rows, with their gains; the columns are in `docs/store.md`.

        Args:
            study: only what this study planned.
            metric: only this metric.
            baseline: the coder whose code lengths gains are over.
            all_versions: also rows that a newer algorithm version has measured again.
            gains: compute gains and their intervals (a bootstrap over documents for each row).

        Raises:
            StoreError: no study of this name.
        """
        if study is not None and study not in (known := self.studies()):
            there = f"it holds: {', '.join(known)}" if known else "it holds no study yet"
            raise StoreError(f"{self.place} holds no study {study!r}; {there}.")
        with translated(self.place), self._engine.connect() as connection:
            yield from exported_rows(
                connection,
                study=study,
                metric=metric,
                baseline=baseline,
                all_versions=all_versions,
                gains=gains,
            )

    def claim(self, work: str, owner: str, *, lease_s: float = 3600) -> str | None:
        """Take a piece of work, unless a living process has it.

        Claims only save double work; that rows are right does not depend on them. A claim of a process that
        has died on this host counts for nothing; one of another host counts until its lease ends.

        Returns:
            None if the work is this owner's now, otherwise the owner that has it.
        """
        c = schema.claim.c
        with translated(self.place):
            with self._engine.connect() as connection:
                holder = connection.execute(select(c.owner).where(c.work == work)).scalar()
            free_from = [owner, *([holder] if holder and is_alive(holder) is False else [])]
            expires_at = (datetime.now(UTC) + timedelta(seconds=lease_s)).isoformat(timespec="microseconds")
            values = {"work": work, "owner": owner, "expires_at": expires_at}
            with writing(self._engine) as connection:
                taking = insert_into(connection, schema.claim).values(**values)
                # Only from the holder that was seen: another process may have taken it since.
                taking = taking.on_conflict_do_update(
                    index_elements=[c.work],
                    set_={"owner": owner, "expires_at": expires_at},
                    where=or_(c.owner.in_(free_from), c.expires_at < now()),
                )
                if connection.execute(taking.returning(c.owner)).scalar() is not None:
                    return None
                current = connection.execute(select(c.owner).where(c.work == work)).scalar()
        return str(current)

    def release(self, work: str, owner: str) -> None:
        """Give a piece of work back."""
        c = schema.claim.c
        with translated(self.place), writing(self._engine) as connection:
            connection.execute(delete(schema.claim).where(c.work == work, c.owner == owner))
