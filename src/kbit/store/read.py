"""From rows back to measurements."""

import json
from collections.abc import Iterator
from dataclasses import fields

from sqlalchemy import Connection, select

from kbit.store import schema
from kbit.store.measurement import Costs, Labels, Measurement, Part, Probe, Subject

_LABELS = tuple(f.name for f in fields(Labels) if f.name != "architecture")


def read_measurements(connection: Connection, wanted: str) -> Iterator[Measurement]:
    """All metrics under an identity, with their parts, in the order of their names."""
    m, p, d = schema.measurement.c, schema.probe.c, schema.document.c
    query = (
        select(schema.measurement, p.identifying.label("asked"), p.text, p.against, schema.text.c.name)
        .join_from(schema.measurement, schema.probe, m.probe == p.key)
        .join(schema.text, schema.text.c.hash == p.text)
        .where(m.identity == wanted)
        .order_by(m.metric)
    )
    for row in connection.execute(query).all():
        part = schema.part.c
        parts = connection.execute(
            select(
                part.numerator, part.denominator, part.tokens, part.bytes_lost, d.name, d.bytes, d.characters
            )
            .join_from(schema.part, schema.document, (d.position == part.position) & (d.text == row.text))
            .where(part.measurement == row.id)
            .order_by(part.position)
        )
        asked = json.loads(row.asked)
        probe = Probe(
            kind=asked["kind"],
            text=asked["text"],
            settings=asked["settings"],
            algorithm=asked["algorithm"],
            against=_subject(connection, row.against) if row.against else None,
            text_name=row.name,
        )
        yield Measurement(
            subject=_subject(connection, row.subject),
            probe=probe,
            metric=row.metric,
            numerator=row.numerator,
            denominator=row.denominator,
            status=row.status,
            reason=row.reason,
            parts=tuple(
                Part(document=r.name, numerator=r.numerator, denominator=r.denominator, bytes=r.bytes,
                     characters=r.characters, tokens=r.tokens, bytes_lost=r.bytes_lost)
                for r in parts
            ),
            costs=Costs(wall_s=row.wall_s, peak_memory_bytes=row.peak_memory_bytes, device=row.device,
                        threads=row.threads),
            versions=json.loads(row.versions),
            created_at=row.created_at,
        )  # fmt: skip


def _subject(connection: Connection, key: str) -> Subject:
    row = connection.execute(select(schema.subject).where(schema.subject.c.key == key)).one()
    content = json.loads(row.identifying)
    return Subject(
        kind=content["kind"],
        content=content.get("content"),
        coder=content.get("coder"),
        formats=content["formats"],
        methods=content["methods"],
        numerics=content["numerics"],
        algorithm=content["algorithm"],
        labels=Labels(
            **{name: getattr(row, name) for name in _LABELS},
            architecture=json.loads(row.architecture or "{}"),
        ),
    )
