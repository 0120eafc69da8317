"""Products of one row (or a few) with packed weights, beside the read bandwidth and the in-cache speed.

Run: python benchmarks/products.py [--threads N] [--inputs N] [--numerics bf16|f32|a8] [--family int|nf]
     [--gib G] [--seconds S] [--contestants NAME...]
In cache: one matrix 4096 wide whose codes take 1.25 MiB. Beyond it: distinct 4096 x 4096 matrices of together
--gib GiB, each read once in a round. Every round runs all contestants in turn; medians of rounds are printed,
with their spread. A contestant is a function here: it makes the calls that multiply each
matrix, or None where it cannot run.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from kbit import _core
from kbit.formats import encode, parse_format
from kbit.formats.decoding import core_parts
from kbit.kernels.core import prepared

Calls = list[Callable[[], object]]
WHOLE = (4096, 4096)
CACHED_BYTES = 5 << 18  # of codes: they lie in the second-level caches of two threads


def cached_shape(bits: int) -> tuple[int, int]:
    """The matrix that is read from the caches, a multiple of 64 rows."""
    return CACHED_BYTES * 8 // bits // WHOLE[1] // 64 * 64, WHOLE[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is multiplied, and in which numbers."""

    family: str
    bits: int
    inputs: int
    numerics: str
    threads: int

    @property
    def text(self) -> str:
        """The format; one bit exists as `int1` only."""
        return f"{self.family if self.bits > 1 else 'int'}{self.bits}:b64"


def kbit_core(setting: Setting, shape: tuple[int, int], count: int) -> Calls:
    """The core's kernel for few rows, called as `product` calls it, by address."""
    rows, cols = shape
    packed = encode(torch.randn(rows, cols), parse_format(setting.text))
    x = torch.randn(setting.inputs, cols).to(torch.float32 if setting.numerics == "f32" else torch.bfloat16)
    calls: Calls = []
    for _ in range(count):
        parts = {
            **core_parts(packed),
            "codes": packed.codes.clone(),
            "scales": core_parts(packed)["scales"].clone(),
        }
        weight = _core.Weight(**parts, threads=setting.threads)
        y = torch.empty(setting.inputs, rows)
        calls.append(
            lambda w=weight, y=y, x=x: w.multiply(
                x.data_ptr(), x.dtype == torch.bfloat16, setting.inputs, cols, y.data_ptr(), setting.numerics,
                setting.threads,
            )
        )  # fmt: skip
    return calls


def torch_bf16(setting: Setting, shape: tuple[int, int], count: int) -> Calls:
    """PyTorch's dense bfloat16 linear."""
    torch.set_num_threads(setting.threads)
    x = torch.randn(setting.inputs, shape[1]).bfloat16()
    weights = [torch.randn(shape).bfloat16() for _ in range(count)]
    return [lambda w=weight: torch.nn.functional.linear(x, w) for weight in weights]


CONTESTANTS: dict[str, Callable[[Setting, tuple[int, int], int], Calls | None]] = {
    "kbit": kbit_core,
    "torch-bf16": torch_bf16,
}


def read_bandwidth(threads: int, gib: float) -> Calls:
    """A sum over as much memory as the matrices take: what reading alone allows."""
    torch.set_num_threads(threads)
    values = torch.ones(int(gib * 2**30) // 8, dtype=torch.int64)
    return [values.sum]


def rounds(contestants: dict[str, Calls], seconds: float) -> dict[str, list[float]]:
    """Wall seconds of each contestant in each round, all of them in turn."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for calls in contestants.values():
        for call in calls:
            call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, calls in contestants.items():
            start = time.perf_counter()
            for call in calls:
                call()
            times[name].append(time.perf_counter() - start)
    return times


def told(times: list[float], amount: float) -> str:
    """Median speed and the spread of the middle half."""
    speeds = sorted(amount / t / 1e9 for t in times)
    low, high = speeds[len(speeds) // 4], speeds[-1 - len(speeds) // 4]
    return f"{statistics.median(speeds):6.1f} ({low:.1f}-{high:.1f})"


def lines(options: argparse.Namespace) -> Iterator[str]:
    weights = WHOLE[0] * WHOLE[1]
    for bits in options.bits:
        setting = Setting(
            family=options.family, bits=bits, inputs=options.inputs, numerics=options.numerics,
            threads=options.threads,
        )  # fmt: skip
        packed = encode(torch.randn(WHOLE), parse_format(setting.text))
        each = packed.stored_size.total / 8
        count = max(2, round(options.gib * 2**30 / each))
        shape = cached_shape(bits)
        cached = {name: calls * 20 for name in options.contestants
                  if (calls := CONTESTANTS[name](setting, shape, 1))}  # fmt: skip
        in_cache = rounds(cached, options.seconds)
        roof = 20 * shape[0] * shape[1] / statistics.median(in_cache["kbit"]) / 1e9
        yield f"{setting.text:9} in cache " + "  ".join(
            f"{name} {told(times, 20 * shape[0] * shape[1])} Gw/s" for name, times in in_cache.items()
        )
        if options.gib <= 0:
            continue
        beyond: dict[str, Calls] = {"read": read_bandwidth(options.threads, options.gib)}
        beyond["kbit"] = kbit_core(setting, WHOLE, count)
        dense = max(2, round(options.gib * 2**30 / weights / 2))
        for name in options.contestants:
            if name != "kbit" and (calls := CONTESTANTS[name](setting, WHOLE, dense)):
                beyond[name] = calls
        out = rounds(beyond, options.seconds)
        read = options.gib * 2**30 / statistics.median(out["read"]) / 1e9
        speed = count * weights / statistics.median(out["kbit"]) / 1e9
        limit = min(read / (each / weights), roof)
        gb_per_s = count * each / statistics.median(out["kbit"]) / 1e9
        yield (
            f"{setting.text:9} beyond   {told(out['kbit'], count * weights)} Gw/s = {gb_per_s:.1f} GB/s; "
            f"read {read:.1f} GB/s; {speed / limit:.2f} of min(bandwidth, in-cache)"
        )
        for name in out:
            if name not in ("read", "kbit"):
                yield f"{'':9}          {name} {told(out[name], len(beyond[name]) * weights)} Gw/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inputs", type=int, default=1, help="rows of activations")
    parser.add_argument("--numerics", choices=("bf16", "f32", "a8"), default="bf16")
    parser.add_argument("--family", choices=("int", "nf", "uint"), default="int")
    parser.add_argument("--bits", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--gib", type=float, default=1.2, help="0 leaves out what is beyond the cache")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each line")
    parser.add_argument("--contestants", nargs="+", choices=tuple(CONTESTANTS), default=["kbit"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weight = prepared(encode(torch.randn(64, 64), parse_format("nf4:b64")))
    kernel = weight.kernel(options.numerics, options.inputs)
    print(f"{kernel}, {options.inputs} row(s), {options.threads} thread(s), path {_core.path()}", flush=True)
    for line in lines(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
