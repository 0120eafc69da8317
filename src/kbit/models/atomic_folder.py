"""A folder that appears whole or not at all: written under a temporary name beside it, synced, renamed."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbit.errors import ModelError


@contextmanager
def new_folder(out: Path, *, overwrite: bool = False, needed_bytes: int = 0) -> Iterator[Path]:
    """A temporary folder that becomes `out` when the block ends well, and vanishes when it does not.

    Args:
        out: the folder to make; its parent is made too.
        overwrite: replace a model folder (or an empty one) that is there already.
        needed_bytes: free bytes the disk must have, checked before anything is written.

    Raises:
        ModelError: `out` exists, is no model folder, or the disk is or becomes full.
    """
    _check_target(out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(out.parent).free
        if free_bytes < needed_bytes:
            raise ModelError(
                f"{out}: needs {needed_bytes} bytes and the disk has {free_bytes} free. "
                "Free some space, or choose another disk. Nothing was written."
            )
        temporary = _beside(out, "part")
    except OSError as error:
        raise ModelError(
            f"{out}: cannot be made: {error.strerror}. Choose a folder you may write to."
        ) from error
    try:
        yield temporary
        sync_files(temporary)
        _move_into_place(temporary, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"{out}: the disk became full while writing. Free some space, or choose another disk. "
                "Nothing was left behind."
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_target(out: Path, *, overwrite: bool) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise ModelError(
            f"{out}: exists already. Choose another name, or allow it to be replaced (--overwrite)."
        )
    # Replacing means deleting: never a folder that holds something else.
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / "config.json").is_file()):
        raise ModelError(f"{out}: is not a model folder, so it will not be replaced. Choose another name.")


def sync_files(folder: Path) -> None:
    """Push every file of `folder`, and the folder's own entries, to the disk."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move_into_place(temporary: Path, out: Path) -> None:
    if out.exists():
        aside = _beside(out, "old")
        old = aside / out.name
        out.rename(old)
        try:
            temporary.rename(out)
        except BaseException:
            old.rename(out)
            aside.rmdir()
            raise
        shutil.rmtree(aside, ignore_errors=True)
    else:
        temporary.rename(out)
    descriptor = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(out: Path, suffix: str) -> Path:
    # Not mkdtemp, which makes it private: this becomes the model folder, with a new folder's usual rights.
    path = out.parent / f".{out.name}.{secrets.token_hex(4)}.{suffix}"
    path.mkdir()
    return path


def replace_file(file: Path, content: bytes) -> None:
    """Write a file whole: under a temporary name, synced, renamed over what was there."""
    temporary = file.parent / f".{file.name}.{secrets.token_hex(4)}.part"
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
