"""A prepared corpus: read, cleaned, filtered, without duplicates, split, in shards that say what they are.

Three stages: read and clean to a spool on disk (the long one; goes on where it was killed), find duplicates
from the spool's figures, copy what stays to shards. Memory holds one document and about 100 bytes for each.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kbit.corpus.clean import Cleaning, CleanTally, Filters, clean, why_removed
from kbit.corpus.contamination import RUN_WORDS, ContaminationFinder
from kbit.corpus.document import Document
from kbit.corpus.files import write_whole
from kbit.corpus.near import near_duplicates
from kbit.corpus.opening import STDIN, ReadTally
from kbit.corpus.read import ReadOptions, find_files, read_documents, read_file
from kbit.corpus.shards import Part
from kbit.corpus.shingles import WORDS, band_keys, shingle_hashes
from kbit.corpus.split import position
from kbit.corpus.spool import Spool, document_of, removed_line
from kbit.errors import CorpusError, UsageError, did_you_mean

VERSION = 1
TRAINING, HELD_OUT = "training", "held-out"
MANIFEST, REPORT, REMOVED, WORK = "manifest.json", "report.json", "removed.jsonl", ".work"
EXCERPT = "excerpt.jsonl"
CHECKPOINT_BYTES = 1 << 26
SPLIT_BY = ("text", "name")


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What is done.

    Attributes:
        reading: how files are read.
        cleaning: what is done to each document.
        filters: which documents stay.
        threshold: Jaccard similarity of shingles from which a document repeats an earlier one; None to look
            for exact duplicates only.
        held_out_share: expected share of documents held out, 0 to 1.
        split_by: what decides a document's part: the hash of its `text` as it was read, or of its `name`.
            Adding documents moves no other one; names made of line numbers would.
        shard_bytes: a shard is closed once it holds so many.
        test_texts: files or folders that training documents are compared with.
        remove_contaminated: leave out training documents that hold a run of words of the test texts.
    """

    reading: ReadOptions = field(default_factory=ReadOptions)
    cleaning: Cleaning = field(default_factory=Cleaning)
    filters: Filters = field(default_factory=Filters)
    threshold: float | None = 0.8
    held_out_share: float = 0.07
    split_by: str = "text"
    shard_bytes: int = 1 << 28
    test_texts: tuple[str, ...] = ()
    remove_contaminated: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(f"the threshold is {self.threshold}; give a similarity above 0 and up to 1.")
        if not 0 <= self.held_out_share <= 1:
            raise UsageError(f"the held-out share is {self.held_out_share}; give a share from 0 to 1.")
        if self.split_by not in SPLIT_BY:
            raise UsageError(
                f"documents are not split by {self.split_by!r}: {did_you_mean(self.split_by, SPLIT_BY)}."
            )
        if self.shard_bytes < 1:
            raise UsageError(f"a shard of {self.shard_bytes} bytes holds nothing; give at least 1.")


def prepare(
    paths: Iterable[Path | str], out: Path | str, preparation: Preparation | None = None
) -> dict[str, Any]:
    """Prepare a corpus; one that was interrupted goes on, one that is done is left as it is.

    Args:
        paths: as for `read_documents`.
        out: the folder to write: `training/` and `held-out/` of numbered JSONL shards, `manifest.json` with
            their hashes, `report.json` with what was counted, `removed.jsonl` with each document removed.
        preparation: what is done.

    Returns:
        The report.

    Raises:
        CorpusError: a text cannot be read; `out` holds something else, or another corpus.
        UsageError: `out` is among the inputs.
    """
    preparation, out, names = preparation or Preparation(), Path(out), [str(path) for path in paths]
    _check_places([*names, *preparation.test_texts], out)
    files = find_files(names)
    identity = _identity(files, preparation)
    done = _check_folder(out, identity)
    if done is not None:
        return done
    work = out / WORK
    if STDIN in names:
        shutil.rmtree(work, ignore_errors=True)  # what was piped in before is not there to go on with
    with Spool(work, identity) as spool:
        counted = _read_all(files, preparation, spool)
    kept, repeats = _without_repeats(spool, preparation)
    report = {"version": VERSION, "identity": identity, **counted}
    return _write_parts(out, spool, kept, repeats, report, preparation)


def _check_places(paths: Iterable[str], out: Path) -> None:
    target = out.resolve()
    for path in paths:
        if not Path(path).exists():
            continue
        root = Path(path).resolve()
        if root == target or target.is_relative_to(root) or root.is_relative_to(target):
            raise UsageError(f"--out {out} and the text {path} lie in each other. Choose another folder.")


def _check_folder(out: Path, identity: str) -> dict[str, Any] | None:
    """The report of a corpus that is done; None where there is work to do."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise CorpusError(f"{out} is a file. Choose a folder for the corpus.")
    if (out / MANIFEST).is_file():
        try:
            found = json.loads((out / MANIFEST).read_bytes())["identity"]
            if found == identity:
                report: dict[str, Any] = json.loads((out / REPORT).read_bytes())
                return report
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{out / MANIFEST} is damaged. Delete {out} or choose another folder."
            ) from error
        raise CorpusError(
            f"{out} holds a corpus of other texts or settings. Choose another folder, or have it replaced "
            "(--overwrite)."
        )
    if any(out.iterdir()) and not (out / WORK).is_dir():
        raise CorpusError(f"{out} holds something else. Choose another folder, or an empty one.")
    return None


def remove_corpus(out: Path) -> None:
    """Delete what `prepare` wrote, and nothing else.

    Raises:
        CorpusError: the folder is no corpus.
    """
    if out.is_dir() and any(out.iterdir()):
        if not ((out / MANIFEST).is_file() or (out / WORK).is_dir()):
            raise CorpusError(f"{out} is no corpus of kbit, so it is not replaced. Choose another folder.")
        _clear(out)
        shutil.rmtree(out / WORK, ignore_errors=True)


def _clear(out: Path) -> None:
    """Delete parts of an unfinished (or unwanted) corpus, its manifest first: without it nothing is whole."""
    for name in (MANIFEST, REPORT, REMOVED, EXCERPT):
        (out / name).unlink(missing_ok=True)
    for part in (TRAINING, HELD_OUT):
        shutil.rmtree(out / part, ignore_errors=True)


def _identity(files: list[tuple[str, str]], preparation: Preparation) -> str:
    """SHA-256 of inputs (name, size, time of change) and settings."""
    inputs = []
    for file, name in [*files, *((f, n) for f, n in find_files(preparation.test_texts))]:
        facts = Path(file).stat() if Path(file).exists() else None
        inputs.append([file, name, *((facts.st_size, facts.st_mtime_ns) if facts else ())])
    canonical = json.dumps([VERSION, inputs, asdict(preparation)], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


# --- reading


_NOTHING_READ: dict[str, Any] = {
    "file": 0,
    "document": 0,
    "replaced": 0,
    "counts": {},
    "steps": {},
    "characters": {},
}


def _read_all(files: list[tuple[str, str]], preparation: Preparation, spool: Spool) -> dict[str, Any]:
    """Read, clean and filter every document to the spool; what was counted."""
    progress = spool.progress or _NOTHING_READ
    counts = Counter(progress["counts"])
    tally = CleanTally(documents=Counter(progress["steps"]), characters=Counter(progress["characters"]))
    replaced_before = progress["replaced"]
    unsaved = 0

    def checkpoint(file: int, document: int, replaced: int) -> None:
        spool.checkpoint(
            {"file": file, "document": document, "replaced": replaced, "counts": counts,
             "steps": tally.documents, "characters": tally.characters}
        )  # fmt: skip

    for number in range(progress["file"], len(files)):
        file, name = files[number]
        reading = ReadTally()
        # What was replaced in the part of this file that is read again is counted again, from its start.
        done = progress["document"] if number == progress["file"] else 0
        for place, document in enumerate(read_file(file, name, preparation.reading, reading), start=1):
            if place <= done:
                continue
            size = document.bytes
            counts["documents"] += 1
            counts["bytes"] += size
            _take(document, preparation, spool, tally)
            unsaved += size
            if unsaved >= CHECKPOINT_BYTES:
                checkpoint(number, place, replaced_before)
                unsaved = 0
        replaced_before += reading.characters_replaced
    checkpoint(len(files), 0, replaced_before)
    return {
        "read": {
            "files": len(files),
            "documents": counts["documents"],
            "bytes": counts["bytes"],
            "characters_replaced": replaced_before,
        },
        "cleaned": {
            step: {"documents": tally.documents[step], "characters_fewer": tally.characters[step]}
            for step in asdict(preparation.cleaning)
            if tally.documents[step]
        },
    }


def _take(document: Document, preparation: Preparation, spool: Spool, tally: CleanTally) -> None:
    key = document.text if preparation.split_by == "text" else document.name
    cleaned = Document(name=document.name, text=clean(document.text, preparation.cleaning, tally))
    removed = why_removed(cleaned, preparation.filters)
    if removed is not None:
        reason, found = removed
        spool.remove(document.name, reason, cleaned.bytes, found)
        return
    bands = band_keys(shingle_hashes(cleaned.text, WORDS))
    spool.add(cleaned, position(key), bands)


# --- duplicates


def _without_repeats(
    spool: Spool, preparation: Preparation
) -> tuple[npt.NDArray[np.bool_], dict[int, tuple[str, int, float]]]:
    """Which documents stay; why each other does not: reason, document repeated, similarity."""
    rows = spool.rows()
    kept = np.ones(len(rows), dtype=np.bool_)
    repeats: dict[int, tuple[str, int, float]] = {}
    order = np.lexsort((rows["digest"][:, 1], rows["digest"][:, 0]))  # stable: first ones stay first
    digests = rows["digest"][order]
    same = (digests[1:] == digests[:-1]).all(axis=1)
    first = 0
    for place in np.flatnonzero(same):
        if place == 0 or not same[place - 1]:
            first = int(order[place])
        repeats[int(order[place + 1])] = ("exact duplicate", first, 1.0)
    kept[list(repeats)] = False
    if preparation.threshold is not None:

        def shingles(i: int) -> npt.NDArray[np.uint64]:
            line = spool.line(int(rows["offset"][i]), int(rows["length"][i]))
            return shingle_hashes(document_of(line).text, WORDS)

        for repeat in near_duplicates(
            spool.band, shingles, alive=kept.copy(), threshold=preparation.threshold
        ):
            kept[repeat.document] = False
            repeats[repeat.document] = ("near duplicate", repeat.kept, repeat.similarity)
    return kept, repeats


# --- writing


def _write_parts(
    out: Path,
    spool: Spool,
    kept: npt.NDArray[np.bool_],
    repeats: Mapping[int, tuple[str, int, float]],
    report: dict[str, Any],
    preparation: Preparation,
) -> dict[str, Any]:
    """Copy what stays to shards; the manifest comes last, so a folder that has one is whole."""
    _clear(out)
    rows = spool.rows()
    parts = {name: Part(out / name, preparation.shard_bytes) for name in (TRAINING, HELD_OUT)}
    finder = (
        ContaminationFinder(list(read_documents(preparation.test_texts))) if preparation.test_texts else None
    )
    removed: Counter[str] = Counter()
    removed_bytes: Counter[str] = Counter()

    def lines() -> Iterator[bytes]:
        """What is removed: first what the spool noted, then what is found while the rest is copied."""
        with (spool.folder / REMOVED).open("rb") as file:
            for line in file:
                record = json.loads(line)
                removed[record["reason"]] += 1
                removed_bytes[record["reason"]] += record["bytes"]
                yield line
        for i, line in enumerate(spool.lines()):
            why = _copy(i, line)
            if why is not None:
                reason, found = why
                removed[reason] += 1
                removed_bytes[reason] += int(rows["bytes"][i])
                yield removed_line(document_of(line).name, reason, int(rows["bytes"][i]), found)

    def _copy(i: int, line: bytes) -> tuple[str, Any] | None:
        if not kept[i]:
            reason, other, similarity = repeats[i]
            original = spool.line(int(rows["offset"][other]), int(rows["length"][other]))
            return reason, {"kept": document_of(original).name, "similarity": round(similarity, 6)}
        part = HELD_OUT if rows["position"][i] < preparation.held_out_share else TRAINING
        if finder is not None and part == TRAINING:
            shared = finder.look(document_of(line))
            if shared and preparation.remove_contaminated:
                return "contaminated", {"runs_shared": shared}
        parts[part].add(i, line)
        return None

    write_whole(out / REMOVED, partial(_write_lines, lines()))
    for part in parts.values():
        part.close()
        part.folder.mkdir(exist_ok=True)
    report |= {
        "removed": {
            reason: {"documents": removed[reason], "bytes": removed_bytes[reason]}
            for reason in sorted(removed)
        },
        "training": parts[TRAINING].facts(rows),
        "held_out": parts[HELD_OUT].facts(rows),
        "contamination": None if finder is None else _contamination(finder, preparation),
    }
    write_whole(out / REPORT, (json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode())
    manifest = {
        "version": VERSION,
        "identity": report["identity"],
        "settings": asdict(preparation),
        "shards": [shard for part in parts.values() for shard in part.shards],
        "parts": {name: part.facts(rows)["hash"] for name, part in parts.items()},
    }
    write_whole(out / MANIFEST, (json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode())
    shutil.rmtree(spool.folder, ignore_errors=True)
    return report


def _write_lines(lines: Iterator[bytes], file: IO[bytes]) -> None:
    file.writelines(lines)


def _contamination(finder: ContaminationFinder, preparation: Preparation) -> dict[str, Any]:
    found = finder.result()
    return {
        "run_words": RUN_WORDS,
        "removed_from_training": preparation.remove_contaminated,
        "test_documents": len(found),
        "documents_touched": sum(item.found > 0 for item in found),
        "runs": sum(item.runs for item in found),
        "runs_found": sum(item.found for item in found),
        "documents": [
            {
                "name": item.name,
                "runs": item.runs,
                "found": item.found,
                "share": item.share,
                "source": item.source,
            }
            for item in sorted(found, key=lambda item: -item.share)
            if item.found
        ],
    }
