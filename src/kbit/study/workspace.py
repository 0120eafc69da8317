"""A folder for k-bit models while they are measured; what a killed process left behind is removed."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kbit.store.owner import is_alive, this_process

_PREFIX = "kbit-study@"


@contextlib.contextmanager
def workspace(root: Path | None = None) -> Iterator[Path]:
    """A folder that is removed at the end, and by the next study if this process is killed.

    Its name says which process made it, so a living one's is never touched.

    Args:
        root: where to make it; by default the system's folder for temporary files.
    """
    root = Path(tempfile.gettempdir()) if root is None else root
    remove_left_behind(root)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{this_process()}@", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_behind(root: Path) -> list[Path]:
    """Remove the folders of processes that have died on this host; returns those removed."""
    dead = [
        folder
        for folder in root.glob(f"{_PREFIX}*@*")
        if is_alive(folder.name.removeprefix(_PREFIX).rpartition("@")[0]) is False
    ]
    for folder in dead:
        shutil.rmtree(folder, ignore_errors=True)
    return dead
