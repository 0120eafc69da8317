"""A file that appears whole or not at all."""

import os
import tempfile
from pathlib import Path

from kbit.errors import KbitError


def write_file(out: Path | str, content: bytes) -> Path:
    """Write under a temporary name beside `out`, sync, rename over it.

    Raises:
        KbitError: `out` is a folder, or cannot be written. What was there before is untouched.
    """
    path = Path(out)
    if path.is_dir():
        raise KbitError(f"{path} is a folder. Give the name of a file in it, such as {path / 'report.html'}.")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private; the page is as readable as any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise KbitError(
            f"{path} cannot be written: {error.strerror}. Choose another place, or make room. "
            "Nothing was left behind."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path
