"""`kbit corpus`: prepare text: read, clean, deduplicate, split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.corpus import Document
    from kbit.corpus.prepare import Preparation

Flag = Parameter(negative=())


def corpus(
    paths: Annotated[
        list[str] | None,
        Parameter(
            help="Files, folders, - (standard input), or datasets:NAME:SPLIT.", allow_leading_hyphen=True
        ),
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for the parts, a manifest and a report.")],
    stdlib: Annotated[bool, Parameter(negative=(), help="Take what this Python carries instead.")] = False,
    field: Annotated[str, Parameter(help="Field or column that holds the text.")] = "text",
    name_field: Annotated[str | None, Parameter(help="Field that holds a name [name, else id].")] = None,
    kind: Annotated[
        Literal["text", "jsonl", "csv", "tsv", "parquet"] | None,
        Parameter(name="--as", help="What files hold [as their suffix says]."),
    ] = None,
    documents: Annotated[
        Literal["file", "line", "paragraph"], Parameter(help="What is one document of a plain text.")
    ] = "file",
    encoding: Annotated[str, Parameter(help="Encoding by name, or `detect`.")] = "utf-8",
    invalid: Annotated[
        Literal["error", "replace"], Parameter(help="Refuse what is no text, or replace and count it.")
    ] = "error",
    fix_text: Annotated[bool, Parameter(negative=(), help="Repair wrongly decoded text (ftfy).")] = False,
    normal_form: Annotated[
        Literal["NFC", "NFD", "NFKC", "NFKD"] | None, Parameter(help="Unicode normal form.")
    ] = None,
    remove_controls: Annotated[bool, Parameter(negative=(), help="Remove control characters.")] = False,
    remove_repeated_lines: Annotated[
        bool, Parameter(negative=(), help="Keep one of equal lines in a row.")
    ] = False,
    least_bytes: Annotated[int, Parameter(help="Shorter documents go.")] = 1,
    most_bytes: Annotated[int | None, Parameter(help="Longer documents go.")] = None,
    language: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="Only these stay, such as en or zh.")
    ] = None,
    most_repeated_lines: Annotated[
        float | None, Parameter(help="Documents with a larger share of repeated lines go.")
    ] = None,
    threshold: Annotated[
        float, Parameter(help="Jaccard similarity of 5-word shingles from which two are the same.")
    ] = 0.8,
    near_duplicates: Annotated[bool, Parameter(help="Look for them; exact ones always go.")] = True,
    held_out_share: Annotated[float, Parameter(help="Share of documents held out, by their hash.")] = 0.07,
    split_by: Annotated[Literal["text", "name"], Parameter(help="What is hashed for that.")] = "text",
    test_text: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="Texts that training documents are compared with."),
    ] = None,
    remove_contaminated: Annotated[
        bool,
        Parameter(negative=(), help="Leave out training documents that share 13 words in a row."),
    ] = False,
    shard_bytes: Annotated[int, Parameter(help="A shard is closed once it holds so many.")] = 1 << 28,
    excerpt_bytes: Annotated[
        int, Parameter(help="Also write excerpt.jsonl: beginnings of held-out documents, this much in all.")
    ] = 0,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a corpus that is there.")] = False,
    json: JsonFlag = False,
) -> int:
    """Prepare text: read, clean, drop exact and near duplicates, split by hash."""
    from kbit.corpus.clean import Cleaning, Filters
    from kbit.corpus.prepare import Preparation
    from kbit.corpus.read import ReadOptions

    if bool(paths) == stdlib:
        raise UsageError("give either PATHs or --stdlib: one of them says where the text comes from.")
    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold is {threshold}; give a similarity above 0 and up to 1.")
    if not 0 <= held_out_share <= 1:
        raise UsageError(f"--held-out-share is {held_out_share}; give a share from 0 to 1.")
    if stdlib:
        data = _stdlib(out, threshold=threshold, held_out_share=held_out_share, excerpt_bytes=excerpt_bytes)
    else:
        preparation = Preparation(
            reading=ReadOptions(
                field=field,
                name_field=name_field,
                kind=kind,
                division=documents,
                encoding=encoding,
                replace=invalid == "replace",
            ),
            cleaning=Cleaning(
                fix_text=fix_text,
                normal_form=normal_form,
                controls=remove_controls,
                repeated_lines=remove_repeated_lines,
            ),
            filters=Filters(
                least_bytes=least_bytes,
                most_bytes=most_bytes,
                languages=tuple(language or ()),
                most_repeated_lines=most_repeated_lines,
            ),
            threshold=threshold if near_duplicates else None,
            held_out_share=held_out_share,
            split_by=split_by,
            shard_bytes=shard_bytes,
            test_texts=tuple(test_text or ()),
            remove_contaminated=remove_contaminated,
        )
        data = _prepared(paths or [], out, preparation, excerpt_bytes=excerpt_bytes, overwrite=overwrite)
    if not data["held_out"]["documents"]:
        talk("warning: no document is held out; give more documents or a larger --held-out-share.")
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _prepared(
    paths: list[str], out: Path, preparation: "Preparation", *, excerpt_bytes: int, overwrite: bool
) -> dict[str, Any]:
    from kbit.corpus import read_documents
    from kbit.corpus.excerpt import excerpts
    from kbit.corpus.prepare import EXCERPT, prepare, remove_corpus
    from kbit.corpus.read import write_documents

    if overwrite:
        remove_corpus(out)
    data = {"out": out, **prepare(paths, out, preparation)}
    if excerpt_bytes > 0 and data["held_out"]["documents"]:
        found = excerpts(list(read_documents([out / "held-out"])), total_bytes=excerpt_bytes)
        write_documents(out / EXCERPT, found)
        data["excerpt"] = _facts(out / EXCERPT, found)
    return data


def _stdlib(out: Path, *, threshold: float, held_out_share: float, excerpt_bytes: int) -> dict[str, Any]:
    """What the running Python carries: few megabytes, split by module, in one file a part."""
    from kbit.corpus.excerpt import excerpts
    from kbit.corpus.read import write_documents
    from kbit.corpus.split import split_by_hash
    from kbit.corpus.stdlib import split_key, stdlib_text

    unlike = stdlib_text(threshold=threshold)
    split = split_by_hash(unlike.kept, held_out_share=held_out_share, key=split_key)
    parts = {"training": split.training, "held_out": split.held_out}
    if excerpt_bytes > 0:
        parts["excerpt"] = excerpts(split.held_out, total_bytes=excerpt_bytes)
    out.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {
        "out": out,
        "removed": {"duplicate or part of another": {"documents": len(unlike.dropped)}},
        "dropped": [
            {"name": item.name, "kept": item.kept, "similarity": item.similarity} for item in unlike.dropped
        ],
    }
    for part, documents in parts.items():
        path = out / f"{part.replace('_', '-')}.jsonl"
        write_documents(path, documents)
        data[part] = _facts(path, documents)
    return data


def _facts(path: Path, documents: list["Document"]) -> dict[str, Any]:
    from kbit.corpus import content_hash

    return {
        "path": path,
        "documents": len(documents),
        "bytes": sum(document.bytes for document in documents),
        "characters": sum(document.characters for document in documents),
        "hash": content_hash(documents),
    }


def _draw(console: "Console", data: dict[str, Any]) -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    if "read" in data:
        read = data["read"]
        say(f"read {read['documents']:,} documents, {read['bytes']:,} bytes from {read['files']:,} files")
        if read["characters_replaced"]:
            say(f"replaced {read['characters_replaced']:,} characters that were no text")
        for step, changed in data["cleaned"].items():
            say(f"cleaned {changed['documents']:,} documents: {step.replace('_', ' ')}")
    for reason, gone in data["removed"].items():
        say(f"removed {gone['documents']:,} documents: {reason}")
    found = data.get("contamination")
    if found is not None:
        say(
            f"{found['documents_touched']:,} of {found['test_documents']:,} test documents share "
            f"{found['run_words']} words in a row with the training text"
        )
    for part in ("training", "held_out", "excerpt"):
        if part in data:
            facts = data[part]
            name = part.replace("_", " ")
            say(f"{name}: {facts['documents']:,} documents, {facts['bytes']:,} bytes in {facts['path']}")
