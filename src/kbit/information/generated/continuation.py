"""A text that continues a prompt, generated or human, and the file that holds many."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.corpus import Document, read_documents
from kbit.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class Continuation:
    """A text after a prompt.

    Attributes:
        name: its own.
        source: name of the document the prompt is of: continuations that share it are drawn together.
        prompt: what stands before; "" for a text of its own.
        text: what follows, without the prompt.
        seed: of the sampling; None for human text.
        tokens: how many the model generated, the end not among them; None where not known.
        decoding_bits: -log2 of the probability with which the tokens were drawn, summed; None for human text.
        model_bits: the same under the model as it is, at temperature 1 without cut-offs.
        settings: model and decoding, as told by the file.
    """

    name: str
    source: str
    prompt: str
    text: str
    seed: int | None = None
    tokens: int | None = None
    decoding_bits: float | None = None
    model_bits: float | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def bytes(self) -> int:
        """Size of the text in UTF-8 bytes."""
        return len(self.text.encode())

    @property
    def whole(self) -> Document:
        """Prompt and text as one document."""
        return Document(name=self.name, text=self.prompt + self.text)


SETTINGS = ("model", "content", "temperature", "top_k", "top_p", "max_new_tokens")


def of_documents(documents: Iterable[Document]) -> list[Continuation]:
    """Documents as texts of their own; those without text are left out."""
    return [Continuation(name=d.name, source=d.name, prompt="", text=d.text) for d in documents if d.text]


def read_continuations(path: Path | str) -> list[Continuation]:
    """Read what `kbit generate --out` wrote, or any documents.

    Args:
        path: JSONL whose lines have `text` and may have `prompt`, `source`, `seed`, `decoding_bits` and
            `model_bits` (lists by token); or plain text, or a folder.

    Raises:
        CorpusError: it cannot be read, holds no text, or a line's figures are not numbers.
    """
    file = Path(path)
    if file.is_file() and file.suffix.lower() in (".jsonl", ".ndjson"):
        # Reading the documents first says what is wrong with a line in the words of the corpus.
        documents = list(read_documents([file]))
        lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
        found = [
            _continuation(json.loads(line), document, f"{file}, document {document.name}")
            for line, document in zip(lines, documents, strict=True)
        ]
        found = [c for c in found if c.text]
    else:
        found = of_documents(read_documents([file]))
    if not found:
        raise CorpusError(f"{file} holds no text: every document in it is empty. Give one that is not.")
    return found


def _continuation(record: Mapping[str, Any], document: Document, place: str) -> Continuation:
    prompt = record.get("prompt") or ""
    if not isinstance(prompt, str):
        raise CorpusError(f'{place}: "prompt" must be a string.')
    seed = record.get("seed")
    return Continuation(
        name=document.name,
        source=str(record.get("source", document.name)),
        prompt=prompt,
        text=document.text,
        seed=seed if isinstance(seed, int) else None,
        tokens=len(record["tokens"]) if isinstance(record.get("tokens"), list) else None,
        decoding_bits=_sum(record, "decoding_bits", place),
        model_bits=_sum(record, "model_bits", place),
        settings={k: record[k] for k in SETTINGS if k in record} or None,
    )


def _sum(record: Mapping[str, Any], key: str, place: str) -> float | None:
    values = record.get(key)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values):
        raise CorpusError(f'{place}: "{key}" must be a list of numbers, one a token.')
    return float(sum(values))


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write JSONL whole or not at all.

    Raises:
        CorpusError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            for record in records:
                out.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CorpusError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error
