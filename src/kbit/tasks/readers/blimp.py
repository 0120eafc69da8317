"""BLiMP: minimal pairs, JSON lines in a zip file or beside each other."""

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kbit.errors import CorpusError
from kbit.tasks.raw import Raw, Reading, text_of


def read_blimp(paths: Sequence[Path], how: Reading) -> list[Raw] | None:
    """Pairs of a good and a bad sentence, by phenomenon; None for other files.

    Raises:
        CorpusError: a pair is wrong; file and line are named.
    """
    found: list[Raw] = []
    for path in paths:
        if path.suffix == ".zip":
            files = _packed(path)
        elif path.suffix == ".jsonl":
            files = iter([(str(path), path.read_text(encoding="utf-8"))])
        else:
            return None
        for name, text in files:
            for number, line in enumerate(text.splitlines(), start=1):
                place = f"{name}:{number}"
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise CorpusError(f"{place}: not JSON ({error}).") from error
                pair = text_of(record, "sentence_good", place), text_of(record, "sentence_bad", place)
                found.append(
                    Raw(source=place, choices=pair, gold=0, group=str(record.get("linguistics_term", "")))
                )
    return found


def _packed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".jsonl") and not name.startswith("__MACOSX"):
                    yield f"{path}/{name}", archive.read(name).decode("utf-8")
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read as a zip file of JSON lines: {error}.") from error
