"""Packing and unpacking against a copy of memory and NumPy's packbits, in one process, interleaved.

Run: python benchmarks/packing.py [--threads N] [--codes N] [--repeats N]
Prints medians in GB/s of code bytes (one byte a code), for every path that can run here.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from kbit import _core
from kbit.formats import row_bytes

COLS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--codes", type=int, default=1 << 25)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    rows = options.codes // COLS
    rng = np.random.default_rng(0)
    print(f"{rows} rows of {COLS} codes, {options.threads} thread(s), medians of {options.repeats}")
    for bits in range(1, 9):
        codes = rng.integers(0, 2**bits, (rows, COLS), dtype=np.uint8)
        packed = np.empty((rows, row_bytes(COLS, bits)), dtype=np.uint8)
        back = np.empty_like(codes)
        calls = contestants(codes, packed, back, bits, options.threads)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        for _ in range(options.repeats):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
        if not np.array_equal(back, codes):
            raise SystemExit(f"k = {bits}: unpacking did not give the codes back")
        speeds = {name: codes.nbytes / statistics.median(t) / 1e9 for name, t in times.items()}
        print(f"k={bits}  " + "  ".join(f"{name} {speed:.2f}" for name, speed in speeds.items()))


def contestants(
    codes: np.ndarray, packed: np.ndarray, back: np.ndarray, bits: int, threads: int
) -> dict[str, Callable[[], object]]:
    copy = np.empty_like(codes)
    calls: dict[str, Callable[[], object]] = {"copy": lambda: np.copyto(copy, codes)}
    for path in _core.paths():
        calls[f"pack/{path}"] = lambda p=path: _core.pack(codes, bits, packed, threads=threads, path=p)
        calls[f"unpack/{path}"] = lambda p=path: _core.unpack(packed, bits, back, threads=threads, path=p)
    if bits == 1:  # the one width NumPy packs by itself
        calls["pack/numpy"] = lambda: np.packbits(codes, axis=1, bitorder="little")
        calls["unpack/numpy"] = lambda: np.unpackbits(packed, axis=1, bitorder="little")
    return calls


if __name__ == "__main__":
    main()
