"""Documents from files of many kinds, from standard input and from `datasets`, streamed."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.corpus.document import Document
from kbit.corpus.opening import STDIN, ReadTally, lines_of, packed_suffix, text_pieces
from kbit.corpus.shipped import is_shipped, shipped_documents
from kbit.corpus.tables import dataset_records, is_dataset, parquet_records
from kbit.errors import CorpusError, UsageError, did_you_mean

# suffix -> kind of content; any other suffix is plain text
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
KINDS = ("text", "jsonl", "csv", "tsv", "parquet")
DIVISIONS = ("file", "line", "paragraph")
# One document is held in memory, several times over while it is worked on.
MOST_DOCUMENT_BYTES = 1 << 28
_BOM = "\ufeff"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How files are read.

    Attributes:
        field: the field or column that holds the text.
        name_field: the one that holds a document's name; by default `name`, else `id`, else the place.
        kind: what files hold (`text`, `jsonl`, `csv`, `tsv`, `parquet`); by default as their suffix says.
        division: what is one document of a plain text: the `file`, each `line`, or each `paragraph` (between
            blank lines).
        encoding: Python's name, or `detect`.
        replace: put U+FFFD for what is no text, and count, instead of refusing the file.
    """

    field: str = "text"
    name_field: str | None = None
    kind: str | None = None
    division: str = "file"
    encoding: str = "utf-8"
    replace: bool = False

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise UsageError(f"no file holds {self.kind!r}: {did_you_mean(self.kind, KINDS)}.")
        if self.division not in DIVISIONS:
            raise UsageError(f"a text has no {self.division!r}: {did_you_mean(self.division, DIVISIONS)}.")


def read_documents(
    paths: Sequence[Path | str], options: ReadOptions | None = None, *, tally: ReadTally | None = None
) -> Iterator[Document]:
    """Read documents one after the other, as they are: no newline is translated, no mark removed.

    Args:
        paths: each a file, a folder (read recursively in sorted order, hidden files passed over), `-` for
            standard input, `datasets:NAME[:CONFIGURATION]:SPLIT`, or a text that ships with kbit
            (`ladder:held-out`, `ladder:train`). A file holds JSON lines (`.jsonl`, `.ndjson`), a table
            (`.csv`, `.tsv`, `.parquet`), or one document of plain text; it may be packed (`.gz`, `.bz2`,
            `.xz`, `.zst`).
        options: how they are read.
        tally: counts what had to be replaced.

    Yields:
        Documents, in the order of the paths; one is held at a time.

    Raises:
        CorpusError: a path is missing, a folder is empty, or a file does not hold such text.
    """
    options, tally = options or ReadOptions(), tally or ReadTally()
    for file, name in find_files(paths):
        yield from read_file(file, name, options, tally)


def find_files(paths: Sequence[Path | str]) -> list[tuple[str, str]]:
    """The files of paths, each with the name that its documents go by.

    Raises:
        CorpusError: a path is missing, or a folder is empty.
    """
    for path in paths:
        if not (_is_named(path) or Path(path).exists()):
            raise CorpusError(
                f"no such text: {path}. Give a .jsonl file, a plain text file, or a folder of them."
            )
    found: list[tuple[str, str]] = []
    for path in paths:
        root = Path(path)
        if _is_named(path) or not root.is_dir():
            found.append((str(path), str(path) if _is_named(path) else root.name))
            continue
        files = _files_below(root)
        if not files:
            raise CorpusError(
                f"the folder {root} holds no files. Give a folder of .jsonl or plain text files."
            )
        found += [(str(file), file.relative_to(root).as_posix()) for file in files]
    return found


def read_file(file: str, name: str, options: ReadOptions, tally: ReadTally) -> Iterator[Document]:
    """The documents of one of the files that `find_files` found."""
    if is_dataset(file):
        yield from _documents(dataset_records(file, options.field, options.name_field), name, options, file)
        return
    if is_shipped(file):
        yield from shipped_documents(file)
        return
    path = Path(file)
    inner = Path(path.stem) if packed_suffix(path) else path
    kind = options.kind or SUFFIXES.get(inner.suffix.lower(), "text")
    if kind == "parquet":
        yield from _documents(parquet_records(path, options.field, options.name_field), name, options, file)
        return
    pieces = text_pieces(path, encoding=options.encoding, replace=options.replace, tally=tally)
    for document in _READERS[kind](pieces, name, options, file):
        _check_size(document, file)
        yield document


def write_documents(path: Path | str, documents: Iterable[Document]) -> None:
    """Write documents as JSONL, one `{"name": …, "text": …}` a line."""
    with Path(path).open("wb") as file:
        file.writelines(document_line(document) for document in documents)


def document_line(document: Document) -> bytes:
    """A document as a line of JSON."""
    return (json.dumps({"name": document.name, "text": document.text}, ensure_ascii=False) + "\n").encode()


def _is_named(path: Path | str) -> bool:
    """Whether a path names what is no file: standard input, a data set, a shipped text."""
    return str(path) == STDIN or is_dataset(path) or is_shipped(path)


def _files_below(root: Path) -> list[Path]:
    found = (file for file in root.rglob("*") if file.is_file())
    visible = (f for f in found if not any(part.startswith(".") for part in f.relative_to(root).parts))
    return sorted(visible, key=lambda f: f.relative_to(root).as_posix())


def _check_size(document: Document, file: str) -> None:
    # Four bytes a character at the most: only what may be too long is measured.
    if 4 * len(document.text) > MOST_DOCUMENT_BYTES and document.bytes > MOST_DOCUMENT_BYTES:
        raise _too_long(file, document.name)


def _too_long(file: str, name: str) -> CorpusError:
    return CorpusError(
        f"{file}: the document {name!r} is longer than {MOST_DOCUMENT_BYTES >> 20} MiB, more than is held in "
        "memory as one. Divide it: --documents line or --documents paragraph for a plain text."
    )


def _read_plain(pieces: Iterator[str], name: str, options: ReadOptions, file: str) -> Iterator[Document]:
    if options.division == "file":
        held, characters = [], 0
        for piece in pieces:
            held.append(piece)
            characters += len(piece)
            if characters > MOST_DOCUMENT_BYTES:
                raise _too_long(file, name)
        yield Document(name=name, text="".join(held))
        return
    paragraph: list[str] = []
    begun = 1
    for number, line in enumerate(lines_of(pieces), start=1):
        if options.division == "line":
            if line.strip():
                yield Document(name=f"{name}:{number}", text=line + "\n")
        elif line.strip():
            begun = begun if paragraph else number
            paragraph.append(line + "\n")
        elif paragraph:
            yield Document(name=f"{name}:{begun}", text="".join(paragraph))
            paragraph = []
    if paragraph:
        yield Document(name=f"{name}:{begun}", text="".join(paragraph))


def _read_jsonl(pieces: Iterator[str], name: str, options: ReadOptions, file: str) -> Iterator[Document]:
    for number, line in enumerate(lines_of(pieces), start=1):
        line = line.removeprefix(_BOM) if number == 1 else line
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            record: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(
                f"{place}: not JSON ({error.msg} at column {error.colno}). "
                'A .jsonl file holds one {"text": …} a line; rename the file to .txt if it is plain text.'
            ) from error
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, deep nesting
            raise CorpusError(f"{place}: JSON that cannot be read ({error}). Leave the line out.") from error
        yield _document(record, place, f"{name}:{number}", options)


def _read_table(
    pieces: Iterator[str], name: str, options: ReadOptions, file: str, *, mark: str
) -> Iterator[Document]:
    csv.field_size_limit(MOST_DOCUMENT_BYTES)
    lines = (line + "\n" for line in lines_of(pieces))
    reader = csv.reader(_without_bom(lines), delimiter=mark)
    header: list[str] | None = None
    number = 0
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = row
                continue
            number += 1
            record = dict(zip(header, row, strict=False))
            yield _document(record, f"{file}, line {reader.line_num}", f"{name}:{number}", options)
    except csv.Error as error:
        raise CorpusError(
            f"{file}, line {reader.line_num}: not such a table ({error}). Mend the row."
        ) from error


def _without_bom(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.removeprefix(_BOM) if number == 0 else line


def _documents(
    records: Iterable[dict[str, Any]], name: str, options: ReadOptions, file: str
) -> Iterator[Document]:
    for number, record in enumerate(records, start=1):
        document = _document(record, f"{file}, row {number}", f"{name}:{number}", options)
        _check_size(document, file)
        yield document


def _document(record: Any, place: str, default_name: str, options: ReadOptions) -> Document:
    field = options.field
    text = record.get(field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        given = ", ".join(sorted(map(str, record))) if isinstance(record, dict) else type(record).__name__
        raise CorpusError(
            f'{place}: no "{field}" that is a string (found: {given or "an empty object"}). '
            f'Each document needs a "{field}"; another field is named with --field.'
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{place}: the text holds a lone surrogate, which is no UTF-8. Repair the escape."
        ) from error
    if options.name_field is None:
        label = record.get("name", record.get("id"))
    else:
        label = record.get(options.name_field)
    return Document(name=default_name if label is None else _encodable(str(label)), text=text)


def _encodable(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _read_csv(pieces: Iterator[str], name: str, options: ReadOptions, file: str) -> Iterator[Document]:
    return _read_table(pieces, name, options, file, mark=",")


def _read_tsv(pieces: Iterator[str], name: str, options: ReadOptions, file: str) -> Iterator[Document]:
    return _read_table(pieces, name, options, file, mark="\t")


_Reader = Callable[[Iterator[str], str, ReadOptions, str], Iterator[Document]]
_READERS: dict[str, _Reader] = {"text": _read_plain, "jsonl": _read_jsonl, "csv": _read_csv, "tsv": _read_tsv}
