"""Tables from files: CSV, Parquet, or JSON (rows, or an object with `rows` as `kbit study export` writes)."""

import csv
import json
from pathlib import Path
from typing import Any

from kbit.errors import LawError, MissingExtraError


def read_table(path: Path | str) -> dict[str, list[Any]]:
    """Columns of a file, by name.

    Args:
        path: ends in .csv, .tsv, .parquet, .json or .jsonl.

    Raises:
        LawError: no such file, another ending, or content that is no table.
        MissingExtraError: Parquet without pyarrow.
    """
    file = Path(path)
    if not file.is_file():
        raise LawError(f"there is no file {file}.")
    ending = file.suffix.lower()
    if ending == ".parquet":
        return _read_parquet(file)
    if ending not in (".csv", ".tsv", ".json", ".jsonl"):
        raise LawError(f"{file}: a table is a .csv, .tsv, .parquet, .json or .jsonl file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LawError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    if ending in (".json", ".jsonl"):
        return _columns(_json_rows(file, text, lines=ending == ".jsonl"), file)
    reader = csv.DictReader(text.splitlines(), delimiter="\t" if ending == ".tsv" else ",")
    rows = list(reader)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise LawError(f"{file}, line {number}: the number of fields differs from the header's.")
    return _columns(rows, file)


def _json_rows(file: Path, text: str, *, lines: bool) -> list[Any]:
    try:
        content = (
            [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
        )
    except json.JSONDecodeError as error:
        raise LawError(f"{file} is no JSON: {error}.") from error
    rows = content.get("rows") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise LawError(f"{file}: expected a list of objects, or an object with such a list as `rows`.")
    return rows


def _columns(rows: list[dict[str, Any]], file: Path) -> dict[str, list[Any]]:
    if not rows:
        raise LawError(f"{file} holds no rows.")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(file: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", needed_for=f"reading {file}") from error
    try:
        table = pyarrow.parquet.read_table(file)
    except pyarrow.ArrowInvalid as error:
        raise LawError(f"{file} is no Parquet file: {error}.") from error
    if table.num_rows == 0:
        raise LawError(f"{file} holds no rows.")
    return dict(table.to_pydict())
