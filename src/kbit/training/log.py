"""The log of a run: one JSON object a step, one line each, agreeing with the checkpoint after a crash."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from kbit.training.checkpoint import write_text


class StepLog:
    """Appends steps to a JSONL file; opened at a step, it first drops what a lost run wrote from there on."""

    def __init__(self, path: Path, *, step: int) -> None:
        """Open the log to continue at a step (0: from the start)."""
        kept = [record for record in read_log(path) if record["step"] < step] if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a")

    def write(self, **record: Any) -> None:
        """Append one step."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; a last line cut short by a crash is passed over."""
    records = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            records.append(json.loads(line))
    return records
