"""Canonical JSON, and the identity of a measurement made from it."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from kbit.errors import StoreError
from kbit.store.measurement import Probe, Subject

IDENTITY_PREFIX = "kbit measurement 1\n"


def identity(subject: Subject, probe: Probe) -> str:
    """What makes two measurements the same one, as 64 hexadecimal digits.

    SHA-256 over a prefix and the canonical JSON of `{"probe": …, "subject": …}`: model content, formats,
    methods, numerics, text content, coder settings and algorithm versions. Names, families, sizes and costs
    are labels: they do not enter. The metric does not either: one measurement may give several metrics, and
    a row is unique by identity and metric.
    """
    return _digest({"subject": subject.identifying(), "probe": probe.identifying()})


def lineage(subject: Subject, probe: Probe) -> str:
    """The identity less the algorithm versions: rows that share it answer one question, at several ages."""
    return _digest(_without_versions({"subject": subject.identifying(), "probe": probe.identifying()}))


def subject_key(subject: Subject) -> str:
    """SHA-256 of what identifies a subject; the key of its row."""
    return _digest(subject.identifying())


def probe_key(probe: Probe) -> str:
    """SHA-256 of what identifies a probe; the key of its row."""
    return _digest(probe.identifying())


def canonical_json(value: Any) -> str:
    """One text for each value, whatever the order of its keys or the type of its containers.

    Keys sorted by code point; no spaces; UTF-8 left as it is; lists and tuples alike; a whole float written
    as an integer, another float as the shortest text that reads back the same; a key whose value is None left
    out, so that an option added later changes no identity made before it.

    Raises:
        StoreError: NaN, infinity, a key that is not text, a lone surrogate, or a type JSON does not have.

    >>> canonical_json({"b": (1.0, 0.5), "a": {"x": None}})
    '{"a":{},"b":[1,0.5]}'
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise StoreError(
                f"{value!r} holds a lone surrogate and has no UTF-8, so no identity. Repair the text."
            ) from error
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise StoreError(f"{value} cannot be part of an identity. Give a finite number, or leave it out.")
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise StoreError(f"the key {wrong[0]!r} is not text. Keys of what has an identity must be text.")
        return {_plain(k): _plain(v) for k, v in value.items() if v is not None}
    raise StoreError(
        f"a {type(value).__name__} has no canonical JSON. Give text, numbers, lists or mappings of these."
    )


def _without_versions(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_versions(v) for k, v in value.items() if k != "algorithm"}
    return value


def _digest(value: Any) -> str:
    return hashlib.sha256((IDENTITY_PREFIX + canonical_json(value)).encode()).hexdigest()
