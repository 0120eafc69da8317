"""Fit and score the byte 6-gram on 10 MB of Python source, beside the standard library's compressors.

    python benchmarks/coders.py [--megabytes 10] [--runs 5]

Every run is a process of its own, so that peak memory is that run's. The text is the source of this Python's
standard library, tests included: a tenth of the files, by hash, is held out. Compressors are primed: their
figure is C(training + held-out) - C(training), what the held-out text adds, and their time that of the second
compression. All of them use one thread, so seconds of processor time are told beside those of the clock: on a
busy machine only the former mean anything.
"""

import argparse
import bz2
import hashlib
import json
import lzma
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
import zlib
from collections.abc import Callable
from pathlib import Path

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "xz -9": lambda text: lzma.compress(text, preset=9),
    "bz2 -9": bz2.compress,
    "zlib -9": lambda text: zlib.compress(text, 9),
}
# Fit in 10 s and 1 GB, score 2 MB/s: what the baseline must do for a study not to wait for it.
TARGETS = {"fit_s": 10.0, "peak_gb": 1.0, "score_mb_per_s": 2.0}


def texts(size: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Training documents of about `size` bytes and held-out ones of about a tenth, as (name, text)."""
    training: list[tuple[str, str]] = []
    held_out: list[tuple[str, str]] = []
    sizes = [0, 0]
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py"), key=lambda f: hashlib.sha256(f.name.encode()).digest()):
        name = str(file.relative_to(root))
        if "site-packages" in name or "dist-packages" in name:
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        side = hashlib.sha256(name.encode()).digest()[0] < 26
        if sizes[side] < (size // 10 if side else size):
            (held_out if side else training).append((name, text))
            sizes[side] += len(text.encode())
    return training, held_out


def run_ngram(size: int) -> dict[str, float]:
    from kbit.coders import NgramCoder, total
    from kbit.corpus import Document

    training, held_out = ([Document(name=n, text=t) for n, t in side] for side in texts(size))
    start = clocks()
    coder = NgramCoder.fit(training)
    fitted = clocks()
    lengths = total(coder.code_lengths(held_out))
    scored = clocks()
    return {
        "fit_s": fitted[0] - start[0],
        "fit_cpu_s": fitted[1] - start[1],
        "score_mb_per_s": lengths.bytes / 1e6 / (scored[0] - fitted[0]),
        "score_mb_per_cpu_s": lengths.bytes / 1e6 / (scored[1] - fitted[1]),
        "bits_per_byte": lengths.bits / lengths.bytes,
        "training_mb": sum(d.bytes for d in training) / 1e6,
        "held_out_mb": lengths.bytes / 1e6,
    }


def run_compressor(name: str, size: int) -> dict[str, float]:
    training, held_out = ("".join(t for _, t in side).encode() for side in texts(size))
    compress = COMPRESSORS[name]
    before = len(compress(training))
    start = clocks()
    after = len(compress(training + held_out))
    wall_s, cpu_s = (b - a for a, b in zip(start, clocks(), strict=True))
    size_mb = (len(training) + len(held_out)) / 1e6
    return {
        "score_mb_per_s": size_mb / wall_s,
        "score_mb_per_cpu_s": size_mb / cpu_s,
        "bits_per_byte": 8 * (after - before) / len(held_out),
    }


def clocks() -> tuple[float, float]:
    """Seconds of the clock, and of this process on a processor."""
    return time.perf_counter(), time.process_time()


def one_run(name: str, size: int) -> dict[str, float]:
    """A run in this process, with its peak memory."""
    figures = run_ngram(size) if name == "kneser-ney-6" else run_compressor(name, size)
    return figures | {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = int(options.megabytes * 1e6)
    if options.one:
        print(json.dumps(one_run(options.one, size)))
        return 0
    medians: dict[str, dict[str, float]] = {}
    for name in ("kneser-ney-6", *COMPRESSORS):
        command = [sys.executable, __file__, "--megabytes", str(options.megabytes), "--one", name]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(options.runs if name == "kneser-ney-6" else 1)
        ]
        medians[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    ours = medians["kneser-ney-6"]
    print(f"{ours['training_mb']:.1f} MB to fit, {ours['held_out_mb']:.1f} MB held out, medians")
    columns = ("fit_s", "fit_cpu_s", "score_mb_per_s", "score_mb_per_cpu_s", "peak_gb", "bits_per_byte")
    print(f"{'':14}" + "".join(f"{column:>20}" for column in columns))
    for name, row in medians.items():
        cells = (f"{row[column]:20.3f}" if column in row else f"{'-':>20}" for column in columns)
        print(f"{name:14}" + "".join(cells))
    missed = [key for key in ("fit_s", "peak_gb") if ours[key] > TARGETS[key]]
    missed += ["score_mb_per_s"] if ours["score_mb_per_s"] < TARGETS["score_mb_per_s"] else []
    print("targets " + (f"missed: {', '.join(missed)}" if missed else "met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
