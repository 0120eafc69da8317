import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kbit.store import Labels, Measurement, Part, Probe, Store, Subject, open_store


def digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


def make_subject(name: str = "rung-1", **changes: Any) -> Subject:
    settings: dict[str, Any] = {
        "kind": "model",
        "content": digest(name),
        "formats": {"body": "nf4:b64", "embeddings": "bf16"},
        "methods": {"body": {"name": "nearest"}},
        "numerics": {"activations": "float32", "device": "cpu"},
        "algorithm": {"nearest": 1},
        "labels": Labels(name=name, format="nf4:b64", format_bits=4),
    }
    return Subject(**(settings | changes))


def make_probe(**changes: Any) -> Probe:
    settings: dict[str, Any] = {
        "kind": "text",
        "text": digest("held-out"),
        "settings": {"context": 512, "stride": 256, "prefix": "bos"},
        "algorithm": {"code-lengths": 1},
        "text_name": "held-out",
    }
    return Probe(**(settings | changes))


def make_parts(bits: Sequence[float], sizes: Sequence[int] = (10, 20, 30)) -> tuple[Part, ...]:
    return tuple(
        Part(
            document=f"d{i}",
            numerator=b,
            denominator=n,
            bytes=n,
            characters=n - 1,
            tokens=n // 2,
            bytes_lost=0,
        )
        for i, (b, n) in enumerate(zip(bits, sizes, strict=True))
    )


def make_measurement(bits: Sequence[float] = (20.0, 50.0, 30.5), **changes: Any) -> Measurement:
    parts = make_parts(bits)
    settings: dict[str, Any] = {
        "subject": make_subject(),
        "probe": make_probe(),
        "metric": "bits_per_byte",
        "numerator": sum(bits),
        "denominator": 60,
        "parts": parts,
    }
    return Measurement(**(settings | changes))


def make_failed(reason: str = "it broke", **changes: Any) -> Measurement:
    given = {"numerator": None, "denominator": None, "parts": (), "status": "failed", "reason": reason}
    return make_measurement(**(given | changes))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.sqlite", create=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Makers of a subject, a probe, parts and measurements, each with keyword changes."""
    return SimpleNamespace(
        subject=make_subject,
        probe=make_probe,
        parts=make_parts,
        measurement=make_measurement,
        failed=make_failed,
        digest=digest,
    )
