"""From measurements to rows, within a transaction that is open."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from kbit.errors import StoreError
from kbit.store import schema
from kbit.store.identity import canonical_json, identity, lineage, probe_key, subject_key
from kbit.store.measurement import Measurement, Subject
from kbit.store.migrations import now


def insert_into(connection: Connection, table: Any) -> Any:
    """An insert that can say what to do with a row that is there already; both databases write it alike."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def write_measurement(connection: Connection, m: Measurement, place: str) -> int:
    """Write one measurement with all it refers to.

    Returns:
        1, or 0 if it is there and ok already.

    Raises:
        StoreError: its parts are not the documents known of its text.
    """
    _write_text(connection, m, place)
    for subject in (m.subject, *([m.probe.against] if m.probe.against else [])):
        _write_subject(connection, subject)
    values: dict[str, Any] = {
        "key": probe_key(m.probe),
        "identifying": canonical_json(m.probe.identifying()),
        "kind": m.probe.kind,
        "text": m.probe.text,
        "against": subject_key(m.probe.against) if m.probe.against else None,
    }
    connection.execute(insert_into(connection, schema.probe).values(values).on_conflict_do_nothing())
    values = {
        "lineage": lineage(m.subject, m.probe),
        "subject": subject_key(m.subject),
        "probe": probe_key(m.probe),
        "status": m.status,
        "reason": m.reason,
        "numerator": m.numerator,
        "denominator": m.denominator,
        **asdict(m.costs),
        "versions": canonical_json(m.versions),
        "created_at": m.created_at or now(),
    }
    row = insert_into(connection, schema.measurement).values(
        identity=identity(m.subject, m.probe), metric=m.metric, **values
    )
    upsert = row.on_conflict_do_update(
        index_elements=["identity", "metric"], set_=values, where=schema.measurement.c.status != "ok"
    )
    number = connection.execute(upsert.returning(schema.measurement.c.id)).scalar()
    if number is None:
        return 0
    parts = [
        {"measurement": number, "position": i, "numerator": p.numerator, "denominator": p.denominator,
         "tokens": p.tokens, "bytes_lost": p.bytes_lost}
        for i, p in enumerate(m.parts)
    ]  # fmt: skip
    if parts:
        connection.execute(schema.part.insert(), parts)
    return 1


def _write_text(connection: Connection, m: Measurement, place: str) -> None:
    text = {"hash": m.probe.text, "name": m.probe.text_name}
    connection.execute(insert_into(connection, schema.text).values(text).on_conflict_do_nothing())
    if not m.parts:
        return
    d = schema.document.c
    sizes = [(p.bytes, p.characters) for p in m.parts]
    query = select(d.bytes, d.characters).where(d.text == m.probe.text).order_by(d.position)
    known = [(row.bytes, row.characters) for row in connection.execute(query)]
    if not known:
        rows = [
            {"text": m.probe.text, "position": i, "name": p.document, "bytes": p.bytes,
             "characters": p.characters}
            for i, p in enumerate(m.parts)
        ]  # fmt: skip
        connection.execute(insert_into(connection, schema.document).on_conflict_do_nothing(), rows)
    elif known != sizes:
        raise StoreError(
            f"{m.metric} of {m.subject.labels.name}: the parts are not the documents that {place} "
            f"knows of the text {m.probe.text_name} ({len(known)} documents, {len(sizes)} parts). "
            "Give one part a document, in the order of the first measurement of this text."
        )


def _write_subject(connection: Connection, subject: Subject) -> None:
    labels = asdict(subject.labels)
    labels["architecture"] = canonical_json(labels["architecture"]) if labels["architecture"] else None
    values = {
        "key": subject_key(subject),
        "identifying": canonical_json(subject.identifying()),
        "kind": subject.kind,
        "content": subject.content,
        **labels,
    }
    row = insert_into(connection, schema.subject).values(values)
    # A label known later fills a gap; one that is there already stays.
    columns = schema.subject.c
    filled = {name: func.coalesce(columns[name], row.excluded[name]) for name in labels}
    connection.execute(row.on_conflict_do_update(index_elements=["key"], set_=filled))
