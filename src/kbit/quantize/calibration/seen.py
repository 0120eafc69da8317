"""The documents a folder was calibrated on, by hash: what measures it must not read the same."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kbit.corpus import Document
from kbit.errors import ModelError, UsageError
from kbit.quantize.calibration.text import Calibration, document_hash

FILE = "calibration.json"
SHOWN = 3


def write_calibration(folder: Path, calibration: Calibration, layers: Mapping[str, Any]) -> None:
    """Write what a folder was calibrated on, and how each layer came out.

    Args:
        folder: the k-bit model.
        calibration: the text.
        layers: note of each layer.
    """
    content = {
        "kind": calibration.kind,
        "hash": calibration.hash,
        "documents": list(calibration.documents),
        "tokens": calibration.tokens,
        "context": calibration.context,
        "seed": calibration.seed,
        "layers": {name: asdict(note) for name, note in layers.items()},
    }
    (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")


def calibration_documents(folder: Path) -> frozenset[str]:
    """Hashes of the documents a folder was calibrated on; none where it was not.

    Raises:
        ModelError: the file that holds them is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return frozenset()
    try:
        return frozenset(str(digest) for digest in json.loads(file.read_bytes())["documents"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(
            f"{file}: cannot be read ({error}), so nobody knows what the model was calibrated on. Copy the "
            "folder again, or quantise the model again."
        ) from error


def seen_documents(hashes: Iterable[str], documents: Sequence[Document]) -> list[str]:
    """Names of the documents whose text is among the hashes."""
    known = frozenset(hashes)
    return [d.name for d in documents if document_hash(d) in known] if known else []


def check_unseen(
    hashes: Iterable[str], documents: Sequence[Document], *, allowed: bool, option: str
) -> list[str]:
    """Refuse text that a model was calibrated on, or give the names of it where that is allowed.

    Args:
        hashes: of the calibration documents.
        documents: to be measured.
        allowed: go on all the same.
        option: how to allow it, for the message.

    Raises:
        UsageError: some of the documents were calibrated on, and that is not allowed.
    """
    seen = seen_documents(hashes, documents)
    if seen and not allowed:
        names = ", ".join(seen[:SHOWN]) + (", …" if len(seen) > SHOWN else "")
        raise UsageError(
            f"{len(seen)} of {len(documents)} documents were read when the model was calibrated ({names}): "
            f"its figures on them flatter it. Measure other text, or have them marked with {option}."
        )
    return seen
