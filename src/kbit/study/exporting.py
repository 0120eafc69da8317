"""Rows to a file: CSV, Parquet or JSON, written whole or not at all."""

import csv
import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kbit.errors import MissingExtraError, StudyError, UsageError, did_you_mean

Rows = Sequence[Mapping[str, Any]]


def to_csv(rows: Rows) -> bytes:
    r"""A header and one line a row; what is missing is an empty field, a float reads back the same.

    >>> to_csv([{"model": "a", "gain": 0.1, "reason": None}])
    b'model,gain,reason\na,0.1,\n'
    """
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue().encode()


def to_json(rows: Rows) -> bytes:
    """One object with the list `rows`."""
    return (json.dumps({"rows": list(rows)}, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def to_parquet(rows: Rows) -> bytes:
    """A Parquet file; columns that hold nothing keep their place.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError("parquet", needed_for="export as Parquet")
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([dict(row) for row in rows])
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


FORMATS: Mapping[str, Callable[[Rows], bytes]] = {"csv": to_csv, "parquet": to_parquet, "json": to_json}


def export(rows: Rows, file: Path | str, *, format: str | None = None) -> None:  # noqa: A002
    """Write rows to a file, under a temporary name until it is whole.

    Args:
        rows: as `Store.rows` gives them.
        file: where to; its ending says how if `format` does not.
        format: csv, parquet or json.

    Raises:
        UsageError: there is no such format.
        StudyError: the file cannot be written.
    """
    path = Path(file)
    content = FORMATS[format_of(path, format)](rows)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}. Check its folder.") from error
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp's file is its owner's alone; this one is as any other
        Path(name).replace(path)
    except OSError as error:
        raise StudyError(
            f"{path} cannot be written: {error.strerror}. Check its folder and the space left."
        ) from error
    finally:
        Path(name).unlink(missing_ok=True)


def format_of(file: Path | None, given: str | None) -> str:
    """The export format: as given, else by the file's ending, else CSV.

    Raises:
        UsageError: there is no such format.
    """
    name = given or (file.suffix.removeprefix(".").lower() if file and file.suffix else "csv")
    if name not in FORMATS:
        raise UsageError(f"there is no export format {name!r}; {did_you_mean(name, FORMATS)}")
    return name
