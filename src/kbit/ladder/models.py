"""The folders of the shipped rungs."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def rungs() -> list[Path]:
    """The rungs' folders, smallest first."""
    return sorted(
        (file.parent for file in FOLDER.glob("rung-*/config.json")),
        key=lambda folder: int(folder.name.removeprefix("rung-")),
    )


def manifest() -> dict[str, Any]:
    """How the ladder was made: recipe, texts, figures of each rung, differences of neighbours."""
    record: dict[str, Any] = json.loads((FOLDER / "family.json").read_text())
    return record


def listing() -> list[dict[str, Any]]:
    """One row a rung, for `kbit ls models`."""
    rows = []
    for folder in rungs():
        record = json.loads((folder / "training.json").read_text())
        rows.append(
            {
                "name": folder.name,
                "parameters": record["parameters"],
                "body_parameters": record["body_parameters"],
                "format": "bf16",
                "path": str(folder),
                "tokens": record["tokens"],
                "held_out_bits_per_byte": record["held_out_bits_per_byte"],
            }
        )
    return rows
