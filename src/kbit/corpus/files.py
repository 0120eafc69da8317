"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from kbit.errors import CorpusError


def write_whole(path: Path | str, write: bytes | Callable[[IO[bytes]], None]) -> None:
    """Write a file under a temporary name beside it, sync, rename over what was there.

    Args:
        path: the file; its folder is made too.
        write: its content, or what writes it.

    Raises:
        CorpusError: it cannot be written. What was there before is untouched, nothing is left behind.
    """
    path = Path(path)
    if path.is_dir():
        raise CorpusError(f"{path} is a folder. Give the name of a file to write.")
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            if isinstance(write, bytes):
                file.write(write)
            else:
                write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be written: {error.strerror or error}. Choose another place, or make room."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
