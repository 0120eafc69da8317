"""Rows of Parquet files and of Hugging Face `datasets`: both need an extra."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbit.errors import CorpusError, MissingExtraError, UsageError

DATASETS = "datasets:"
ROWS_AT_ONCE = 256
NAME_FIELDS = ("name", "id")


def is_dataset(path: Path | str) -> bool:
    """Whether a path names a data set: `datasets:NAME[:CONFIGURATION]:SPLIT`."""
    return str(path).startswith(DATASETS)


def parquet_records(path: Path, field: str, name_field: str | None) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, the columns of text and name only, some hundreds at a time.

    Raises:
        CorpusError: it is no Parquet file, or has no such column.
        MissingExtraError: pyarrow is absent.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("parquet", needed_for=f"reading {path.name}") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if field not in names:
                raise CorpusError(
                    f"{path} has no column {field!r} (found: {', '.join(names)}). Name one with --field."
                )
            wanted = [field, *(n for n in ([name_field] if name_field else NAME_FIELDS) if n in names)]
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(f"{path} cannot be read as Parquet: {error}. Is it complete?") from error


def dataset_records(path: str, field: str, name_field: str | None) -> Iterator[dict[str, Any]]:
    """Rows of a data set, streamed; code that a data set brings along is never run.

    Raises:
        UsageError: the path is not spelt so.
        CorpusError: there is no such data set, or it has no such column.
        MissingExtraError: `datasets` is absent.
    """
    parts = path.removeprefix(DATASETS).split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(
            f"{path} names no data set. Give datasets:NAME:SPLIT or datasets:NAME:CONFIGURATION:SPLIT."
        )
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", needed_for=f"reading {path}") from error
    name, configuration, split = parts[0], parts[1] if len(parts) == 3 else None, parts[-1]
    try:
        rows: Any = datasets.load_dataset(name, configuration, split=split, streaming=True)
        wanted = {field, *([name_field] if name_field else NAME_FIELDS)}
        for row in rows:
            yield {key: value for key, value in row.items() if key in wanted} or dict.fromkeys(row)
    except (ValueError, OSError) as error:
        raise CorpusError(
            f"{path} cannot be read: {error}. Check its name, its split and the network."
        ) from error
