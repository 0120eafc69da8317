"""Documents from files: JSONL, plain text, or folders of either."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kbit.corpus.document import Document
from kbit.errors import CorpusError

JSONL_SUFFIXES = (".jsonl", ".ndjson")


def read_documents(paths: Sequence[Path | str]) -> Iterator[Document]:
    """Read documents one after the other, byte for byte: no newline is translated, no mark removed.

    Args:
        paths: each a `.jsonl` file (one `{"text": …}` a line, with an optional `"name"` or `"id"`), another
            file (one document of plain UTF-8 text, named as the file), or a folder of either, read
            recursively in sorted order (hidden files are passed over).

    Yields:
        Documents, in the order of the paths.

    Raises:
        CorpusError: a path is missing, a folder is empty, or a file does not hold such text.
    """
    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.exists():
            raise CorpusError(
                f"no such text: {root}. Give a .jsonl file, a plain text file, or a folder of them."
            )
    for root in roots:
        if not root.is_dir():
            yield from _read_file(root, root.name)
            continue
        files = _files_below(root)
        if not files:
            raise CorpusError(
                f"the folder {root} holds no files. Give a folder of .jsonl or plain text files."
            )
        for file in files:
            yield from _read_file(file, file.relative_to(root).as_posix())


def write_documents(path: Path | str, documents: Sequence[Document]) -> None:
    """Write documents as JSONL, one `{"name": …, "text": …}` a line."""
    lines = (
        json.dumps({"name": document.name, "text": document.text}, ensure_ascii=False) + "\n"
        for document in documents
    )
    Path(path).write_bytes("".join(lines).encode())


def _files_below(root: Path) -> list[Path]:
    found = (file for file in root.rglob("*") if file.is_file())
    visible = (f for f in found if not any(part.startswith(".") for part in f.relative_to(root).parts))
    return sorted(visible, key=lambda f: f.relative_to(root).as_posix())


def _read_file(file: Path, name: str) -> Iterator[Document]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {file}: {error.strerror}. Check its permissions.") from error
    if file.suffix.lower() in JSONL_SUFFIXES:
        yield from _read_jsonl(file, name, content)
    else:
        yield Document(name=name, text=_decode(content, f"{file}"))


def _read_jsonl(file: Path, name: str, content: bytes) -> Iterator[Document]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            record: Any = json.loads(_decode(line, place))
        except json.JSONDecodeError as error:
            raise CorpusError(
                f"{place}: not JSON ({error.msg} at column {error.colno}). "
                'A .jsonl file holds one {"text": …} a line; rename the file to .txt if it is plain text.'
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            given = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
            raise CorpusError(
                f'{place}: no "text" that is a string (found: {given or "an empty object"}). '
                'Each line needs {"text": …}; "name" or "id" are optional.'
            )
        text: str = record["text"]
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: the text holds a lone surrogate, which is no UTF-8. Repair the escape."
            ) from error
        label = record.get("name", record.get("id"))
        yield Document(name=f"{name}:{number}" if label is None else str(label), text=text)


def _decode(content: bytes, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{place}: not UTF-8 at byte offset {error.start} (byte 0x{content[error.start]:02x}). "
            "Convert the text, for example with iconv -t UTF-8, or leave the file out."
        ) from error
