"""The log of a run: one JSON object a step, one line each, agreeing with the checkpoint after a crash."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from kbit.errors import TrainingError
from kbit.training.checkpoint import write_text


class StepLog:
    """Appends steps to a JSONL file; opened at a step, it first drops what a lost run wrote from there on.

    The same numbers go to TensorBoard where a folder for it is given.
    """

    def __init__(self, path: Path, *, step: int, board: Path | None = None, writes: bool = True) -> None:
        """Open the log to continue at a step (0: from the start).

        Args:
            path: the JSONL file.
            step: the first step that will be written.
            board: TensorBoard's folder, or None.
            writes: False in a process that leaves the log to another.

        Raises:
            TrainingError: a board is asked for and TensorBoard is not installed.
        """
        self._file: TextIO | None = None
        self._board = _board(board, step) if board is not None and writes else None
        if not writes:
            return
        kept = [record for record in read_log(path) if record["step"] < step] if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a")

    def write(self, **record: Any) -> None:
        """Append one step."""
        if self._file is None:
            return
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board is not None:
            for key, value in record.items():
                if key != "step":
                    self._board.add_scalar(key, value, record["step"])

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "training.tensorboard is true, and TensorBoard is not installed: pip install 'kbit[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; a last line cut short by a crash is passed over."""
    records = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            records.append(json.loads(line))
    return records
