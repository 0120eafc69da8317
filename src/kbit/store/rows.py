"""Measurements as flat rows, one a metric, with gains over a baseline computed from the parts."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select

from kbit.errors import KbitError
from kbit.store import schema
from kbit.store.measurement import ARCHITECTURE

if TYPE_CHECKING:
    from kbit.coders import CodeLengths

HEADLINE_BASELINE = "kneser-ney-6"
GAIN_METRIC = "bits_per_byte"
# Settings of a probe of generated text that stand in columns of their own.
DECODING = ("temperature", "top_k", "top_p", "seed", "samples", "prompt_tokens", "max_new_tokens", "scorer")
LABELS = (
    "stored_bits", "stored_bits_body", "stored_bits_embeddings", "weights", "weights_body",
    "parameters", "parameters_body",
)  # fmt: skip


def exported_rows(
    connection: Connection,
    *,
    study: str | None,
    metric: str | None,
    baseline: str,
    all_versions: bool,
    gains: bool,
) -> Iterator[dict[str, Any]]:
    """See `Store.rows`."""
    found = _joined(connection, study=study, metric=metric)
    if not all_versions:
        newest = {(row.lineage, row.metric): row.id for row in found}  # `found` is in order of age
        found = [row for row in found if newest[row.lineage, row.metric] == row.id]
    sums = _sums(connection)
    studies = _studies(connection)
    gain_of = _Gains(connection, baseline, studies)
    for row in sorted(found, key=lambda r: (r.kind != "model", r.id)):
        yield _flat(row, sums, studies) | (gain_of(row) if gains else {})


def _joined(connection: Connection, *, study: str | None, metric: str | None) -> list[Row[Any]]:
    m, s, p = schema.measurement, schema.subject, schema.probe
    labels = [c for c in s.c if c.name not in {"identifying", "key"}]
    against = s.alias("against")
    query = (
        select(
            m,
            *labels,
            s.c.identifying.label("subject_json"),
            p.c.identifying.label("probe_json"),
            p.c.text.label("text_hash"),
            schema.text.c.name.label("text_name"),
            against.c.name.label("against_name"),
            against.c.format.label("against_format"),
        )
        .join_from(m, s, m.c.subject == s.c.key)
        .join(p, m.c.probe == p.c.key)
        .join(schema.text, p.c.text == schema.text.c.hash)
        .join(against, p.c.against == against.c.key, isouter=True)
        .order_by(m.c.created_at, m.c.id)
    )
    if study is not None:
        plan = schema.planned.c
        query = query.join(
            schema.planned,
            (plan.identity == m.c.identity) & (plan.metric == m.c.metric) & (plan.study == study),
        )
    if metric is not None:
        query = query.where(m.c.metric == metric)
    return list(connection.execute(query))


def _sums(connection: Connection) -> dict[int, Row[Any]]:
    """By measurement: sums over its documents; tokens and lost bytes are None if one document's are."""
    part, d, m, p = schema.part.c, schema.document.c, schema.measurement.c, schema.probe.c
    query = (
        select(
            part.measurement,
            func.sum(d.bytes).label("bytes"),
            func.sum(d.characters).label("characters"),
            func.sum(part.tokens).label("tokens"),
            func.sum(part.bytes_lost).label("bytes_lost"),
            func.count(part.tokens).label("with_tokens"),
            func.count(part.bytes_lost).label("with_lost"),
            func.count().label("documents"),
            func.count(func.nullif(part.denominator, 0)).label("counted"),
            func.sum(part.numerator * part.numerator).label("nn"),
            func.sum(part.numerator * part.denominator).label("nd"),
            func.sum(part.denominator * part.denominator).label("dd"),
        )
        .join_from(schema.part, schema.measurement, part.measurement == m.id)
        .join(schema.probe, m.probe == p.key)
        .join(schema.document, (d.text == p.text) & (d.position == part.position))
        .group_by(part.measurement)
    )
    return {row.measurement: row for row in connection.execute(query)}


def _studies(connection: Connection) -> dict[tuple[str, str], list[str]]:
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in connection.execute(select(schema.planned).order_by(schema.planned.c.study)):
        names[row.identity, row.metric].append(row.study)
    return names


def _flat(
    row: Row[Any], sums: dict[int, Row[Any]], studies: dict[tuple[str, str], list[str]]
) -> dict[str, Any]:
    """The columns of a row without those of the gain; what is not known is None."""
    total = sums.get(row.id)
    subject, probe = json.loads(row.subject_json), json.loads(row.probe_json)
    architecture = json.loads(row.architecture or "{}")
    return {
        "model": row.name,
        "kind": row.kind,
        "family": row.family,
        "format": row.format,
        "format_bits": row.format_bits,
        "method": row.method,
        "text": row.text_name,
        "metric": row.metric,
        "numerator": row.numerator,
        "denominator": row.denominator,
        "value": _ratio(row.numerator, row.denominator),
        "value_standard_error": _standard_error(row, total),
        "status": row.status,
        "reason": row.reason,
        "bits": row.numerator if row.metric == GAIN_METRIC else None,
        "bytes": int(total.bytes) if total else None,
        "characters": int(total.characters) if total else None,
        "tokens": int(total.tokens) if total and total.with_tokens == total.documents else None,
        "bytes_lost": int(total.bytes_lost) if total and total.with_lost == total.documents else None,
        "documents": total.documents if total else None,
        **{name: getattr(row, name) for name in LABELS},
        "body_bits_per_weight": _ratio(row.stored_bits_body, row.weights_body),
        "whole_bits_per_weight": _ratio(row.stored_bits, row.weights),
        **{name: architecture.get(name) for name in ARCHITECTURE},
        "numerics": "/".join(str(v) for _, v in sorted(subject["numerics"].items())) or None,
        "context": probe["settings"].get("context"),
        "stride": probe["settings"].get("stride"),
        **{name: probe["settings"].get(name) for name in DECODING},
        "against": f"{row.against_name} {row.against_format}" if row.against_name else None,
        "baseline": None,
        "baseline_bits_per_byte": None,
        "gain": None,
        "gain_low": None,
        "gain_high": None,
        "gain_standard_error": None,
        "wall_s": row.wall_s,
        "peak_memory_bytes": row.peak_memory_bytes,
        "device": row.device,
        "threads": row.threads,
        "versions": row.versions,
        "algorithm": json.dumps(subject["algorithm"] | probe["algorithm"], sort_keys=True),
        "created_at": row.created_at,
        "studies": ",".join(studies.get((row.identity, row.metric), [])) or None,
        "content": row.content,
        "text_hash": row.text_hash,
        "identity": row.identity,
    }


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _standard_error(row: Row[Any], total: Row[Any] | None) -> float | None:
    """Of the ratio over documents: sqrt(n/(n-1) sum (d - R B)^2) / sum B; None below two documents."""
    value = _ratio(row.numerator, row.denominator)
    if total is None or value is None or total.counted < 2:
        return None
    squares = max(0.0, float(total.nn - 2 * value * total.nd + value**2 * total.dd))
    return math.sqrt(total.counted / (total.counted - 1) * squares) / abs(float(row.denominator))


class _Gains:
    """Gains of rows over one baseline, from the code lengths of the same documents."""

    def __init__(self, connection: Connection, name: str, studies: dict[tuple[str, str], list[str]]) -> None:
        self._connection = connection
        self._name = name
        self._studies = studies
        self._baselines: dict[str, list[Row[Any]]] = defaultdict(list)
        self._lengths: dict[int, list[CodeLengths]] = {}
        for row in _joined(connection, study=None, metric=GAIN_METRIC):
            if row.kind == "coder" and row.name == name and row.status == "ok":
                self._baselines[row.text_hash].append(row)

    def __call__(self, row: Row[Any]) -> dict[str, Any]:
        """The gain's columns; empty where there is no gain: another metric, no figure, no baseline."""
        if row.metric != GAIN_METRIC or row.status != "ok" or row.kind != "model":
            return {}
        base = self._baseline_of(row)
        if base is None:
            return {}
        from kbit.information import gain

        columns = {
            "baseline": self._name,
            "baseline_bits_per_byte": _ratio(base.numerator, base.denominator),
        }
        try:
            found = gain(self._of(row), self._of(base))
        except KbitError:
            return columns
        return columns | {
            "gain": found.value,
            "gain_low": found.low,
            "gain_high": found.high,
            "gain_standard_error": found.standard_error,
        }

    def _baseline_of(self, row: Row[Any]) -> Row[Any] | None:
        """The baseline of the same study if there is one, the newest of them if there are several."""
        candidates = self._baselines.get(row.text_hash, [])
        own = set(self._studies.get((row.identity, row.metric), []))
        shared = [c for c in candidates if own & set(self._studies.get((c.identity, c.metric), []))]
        return next(reversed(shared or candidates), None)

    def _of(self, row: Row[Any]) -> "list[CodeLengths]":
        if row.id not in self._lengths:
            self._lengths[row.id] = _code_lengths(self._connection, row)
        return self._lengths[row.id]


def _code_lengths(connection: Connection, row: Row[Any]) -> "list[CodeLengths]":
    from kbit.coders import CodeLengths

    part, d = schema.part.c, schema.document.c
    query = (
        select(schema.part, d.name, d.bytes, d.characters)
        .join_from(schema.part, schema.document, (d.text == row.text_hash) & (d.position == part.position))
        .where(part.measurement == row.id)
        .order_by(part.position)
    )
    return [
        CodeLengths(
            document=r.name,
            bits=r.numerator,
            bytes=r.bytes,
            characters=r.characters,
            tokens=r.tokens or 0,  # gains are per byte: neither count enters them
            bytes_lost=r.bytes_lost or 0,
        )
        for r in connection.execute(query)
    ]
