"""`kbit corpus`: prepare text: read, deduplicate, split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.corpus import Document
    from kbit.corpus.deduplicate import Deduplicated


def corpus(
    paths: Annotated[
        list[Path] | None, Parameter(help=".jsonl files, plain text files, or folders of either.")
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for training.jsonl and held-out.jsonl.")],
    stdlib: Annotated[
        bool, Parameter(negative=(), help="Take what this Python carries instead of files.")
    ] = False,
    held_out_share: Annotated[float, Parameter(help="Share of names held out, by their hash.")] = 0.07,
    threshold: Annotated[
        float, Parameter(help="Jaccard similarity of 5-word shingles from which two are the same.")
    ] = 0.8,
    excerpt_bytes: Annotated[
        int, Parameter(help="Also write excerpt.jsonl: beginnings of held-out documents, this much in all.")
    ] = 0,
    json: JsonFlag = False,
) -> int:
    """Prepare text: read it, drop exact and near duplicates, split it by hash of names."""
    from kbit.corpus import read_documents
    from kbit.corpus.deduplicate import deduplicate
    from kbit.corpus.excerpt import excerpts
    from kbit.corpus.read import write_documents
    from kbit.corpus.split import split_by_hash
    from kbit.corpus.stdlib import split_key, stdlib_text

    if bool(paths) == stdlib:
        raise UsageError("give either PATHs or --stdlib: one of them says where the text comes from.")
    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold is {threshold}; give a similarity above 0 and up to 1.")
    if not 0 <= held_out_share <= 1:
        raise UsageError(f"--held-out-share is {held_out_share}; give a share from 0 to 1.")
    unlike = (
        stdlib_text(threshold=threshold)
        if stdlib
        else deduplicate(read_documents(paths or []), threshold=threshold)
    )
    split = split_by_hash(unlike.kept, held_out_share=held_out_share, key=split_key if stdlib else None)
    parts = {"training": split.training, "held_out": split.held_out}
    if excerpt_bytes > 0:
        parts["excerpt"] = excerpts(split.held_out, total_bytes=excerpt_bytes)
    out.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {"out": out, **_dropped(unlike)}
    for part, documents in parts.items():
        path = out / f"{part.replace('_', '-')}.jsonl"
        write_documents(path, documents)
        data[part] = _facts(path, documents)
    if not split.held_out:
        talk("warning: no document is held out; give more documents or a larger --held-out-share.")
    return emit(data, json=json, text=lambda console: _draw(console, data, list(parts)))


def _facts(path: Path, documents: list["Document"]) -> dict[str, Any]:
    from kbit.corpus import content_hash

    return {
        "path": path,
        "documents": len(documents),
        "bytes": sum(document.bytes for document in documents),
        "characters": sum(document.characters for document in documents),
        "hash": content_hash(documents),
    }


def _dropped(unlike: "Deduplicated") -> dict[str, Any]:
    return {
        "kept": len(unlike.kept),
        "dropped": [
            {"name": item.name, "kept": item.kept, "similarity": item.similarity} for item in unlike.dropped
        ],
    }


def _draw(console: "Console", data: dict[str, Any], parts: list[str]) -> None:
    for item in data["dropped"]:
        console.print(
            f"dropped {item['name']}: {item['similarity']:.0%} of it is in {item['kept']}", markup=False
        )
    for part in parts:
        facts = data[part]
        console.print(
            f"{part.replace('_', ' ')}: {facts['documents']} documents, {facts['bytes']:,} bytes "
            f"in {facts['path']}",
            markup=False,
            soft_wrap=True,
        )
