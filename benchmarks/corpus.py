"""Near duplicates of 100,000 documents, and 2 GB of text through `kbit corpus`.

    python benchmarks/corpus.py [--documents 100000] [--gigabytes 2] [--peer-documents 1000] [--folder DIR]
                                [--pool FOLDER]

Documents are made from lines of this Python's standard library, or of the text files of a folder, drawn at
random (seeded), so that no two are alike but those meant to be: one in twenty is a copy, one in ten a copy
with a changed line. The peer is
datasketch (MinHash with 128 functions, LSH), on fewer documents: it proposes pairs and does not check
them. The physical limit beside the corpus is a copy of the file. Every run is a process of its own, so that
peak memory is that run's.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LINES = 60
TARGETS = {"near_duplicates_s": 60.0, "corpus_peak_mb": 400.0}


def texts(count: int, folder: str = "") -> Iterator[str]:
    """Documents of about two kilobytes from Python source; of novels, a line a paragraph, of more."""
    chooser = random.Random(0)
    pool: list[str] = []
    place, ending = (Path(folder), "*.txt") if folder else (Path(sysconfig.get_path("stdlib")), "*.py")
    for file in sorted(place.glob(ending)):
        pool += [line for line in file.read_text(errors="ignore").splitlines() if len(line) > 20]
    earlier: list[list[str]] = []
    for number in range(count):
        kind = number % 20
        if earlier and kind in (4, 9, 14):
            lines = list(chooser.choice(earlier))
            if kind != 4:
                lines[chooser.randrange(len(lines))] = f"changed {number}"
        else:
            lines = chooser.choices(pool, k=LINES)
            if len(earlier) < 1000:
                earlier.append(lines)
        yield "\n".join(lines) + "\n"


def run_near(count: int) -> dict[str, float]:
    from kbit.corpus import Document
    from kbit.corpus.deduplicate import deduplicate

    documents = [Document(name=str(i), text=text) for i, text in enumerate(texts(count))]
    start, cpu = time.perf_counter(), time.process_time()
    found = deduplicate(documents)
    return {
        "near_duplicates_s": time.perf_counter() - start,
        "near_duplicates_cpu_s": time.process_time() - cpu,
        "documents": len(documents),
        "megabytes": sum(d.bytes for d in documents) / 1e6,
        "dropped": len(found.dropped),
    }


def run_peer(count: int) -> dict[str, float]:
    import re

    from datasketch import MinHash, MinHashLSH

    held = list(texts(count))
    start = time.perf_counter()
    index = MinHashLSH(threshold=0.8, num_perm=128)
    dropped = 0
    for number, text in enumerate(held):
        words = re.findall(r"\w+|[^\w\s]", text)
        sketch = MinHash(num_perm=128)
        sketch.update_batch([" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)])
        if index.query(sketch):
            dropped += 1
        else:
            index.insert(str(number), sketch)
    wall_s = time.perf_counter() - start
    return {"documents": count, "dropped": dropped, "s": wall_s, "s_per_1000": 1000 * wall_s / count}


def run_corpus(file: str, out: str) -> dict[str, float]:
    from kbit.corpus.prepare import prepare

    size = Path(file).stat().st_size
    start = time.perf_counter()
    report = prepare([file], out)
    wall_s = time.perf_counter() - start
    return {
        "corpus_s": wall_s,
        "mb_per_s": size / 1e6 / wall_s,
        "documents": report["read"]["documents"],
        "removed": sum(r["documents"] for r in report["removed"].values()),
    }


def make_file(file: Path, size: float, pool: str = "") -> None:
    with file.open("w") as handle:
        written = 0
        for number, text in enumerate(texts(1 << 40, pool)):
            line = json.dumps({"name": str(number), "text": text}) + "\n"
            handle.write(line)
            written += len(line.encode())
            if written >= size:
                return


def alone(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--peer-documents", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="where the text is made [a temporary folder]")
    parser.add_argument("--pool", default="", help="text files whose lines it is made of [Python's library]")
    parser.add_argument("--file", type=Path, help="the text of --gigabytes, made before")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, *rest = options.one
        runs = {"near": run_near, "peer": run_peer}
        found = run_corpus(*rest) if what == "corpus" else runs[what](int(rest[0]))
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(json.dumps(found))
        return 0
    missed = []
    if options.documents:
        near = alone("--one", "near", str(options.documents))
        print("near duplicates", {k: round(v, 3) for k, v in near.items()}, flush=True)
        missed += ["near duplicates"] if near["near_duplicates_s"] > TARGETS["near_duplicates_s"] else []
    if options.peer_documents:
        try:
            peer = alone("--one", "peer", str(options.peer_documents))
            print("datasketch", {k: round(v, 3) for k, v in peer.items()}, flush=True)
        except subprocess.CalledProcessError:
            print("datasketch is not installed")
    if options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            file = options.file or Path(folder) / "text.jsonl"
            if options.file is None:
                make_file(file, options.gigabytes * 1e9, options.pool)
            start = time.perf_counter()
            with file.open("rb") as source, (Path(folder) / "copy").open("wb") as target:
                while piece := source.read(1 << 20):
                    target.write(piece)
            copied_s = time.perf_counter() - start
            (Path(folder) / "copy").unlink()
            found = alone("--one", "corpus", str(file), str(Path(folder) / "out"))
        print("corpus", {k: round(v, 3) for k, v in found.items()}, f"a copy alone: {copied_s:.1f} s")
        missed += ["memory of the corpus"] if found["peak_mb"] > TARGETS["corpus_peak_mb"] else []
    print("targets " + (f"missed: {', '.join(missed)}" if missed else "met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
