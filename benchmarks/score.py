"""Scoring text: tokens a second of kbit's coder against plain Transformers in bfloat16 (and llama.cpp).

    python benchmarks/score.py --shape 134m --window 512 --formats nf4:b64 int8:b64
    python benchmarks/score.py --shape 1.1b --window 512 --formats nf4:b64 --llama-bench llama-bench

Every round scores one window with Transformers and then one with each format, so that what else the machine
does meets all alike; the ratio is the median over rounds of the two times of one round, with its interval.
A run in which Transformers falls below 0.9 of what it reaches alone, before the others are made, is void.
"""

import argparse
import gc
import json
import math
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch
from random_models import SHAPES, dense, packed
from torch.nn import functional

from kbit.coders.language_model import target_bits
from kbit.coders.logits import LogitReader

VOID_BELOW = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="134m")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--formats", nargs="+", default=[f"int{k}:b64" for k in range(2, 9)])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--llama-bench", default=shutil.which("llama-bench"), help="llama.cpp's tool, if it is there"
    )
    parser.add_argument("--gguf", nargs="*", default=[], help="models of this shape for it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(run(arguments), indent=1))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; tokens a second, ratios to Transformers with 95% intervals."""
    window = arguments.window
    ids = torch.randint(5, 32000, (1, window + 1), generator=torch.Generator().manual_seed(0))
    reference = dense(arguments.shape)
    calls: dict[str, Callable[[], float]] = {"transformers bf16": lambda: plain(reference, ids)}
    alone = window / statistics.median(timed(calls["transformers bf16"]) for _ in range(5))
    calls["kbit's coder, bf16"] = coder(reference, ids)
    for text in arguments.formats:
        calls[text] = coder(packed(arguments.shape, text)[0], ids)
    gc.collect()
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + arguments.seconds
    while time.perf_counter() < end or len(times["transformers bf16"]) < 5:
        for name, call in calls.items():
            times[name].append(timed(call))
    base = times["transformers bf16"]
    beside = window / statistics.median(base)
    result: dict[str, Any] = {
        "shape": arguments.shape,
        "window": window,
        "threads": arguments.threads,
        "rounds": len(base),
        "transformers_alone_tokens_per_s": alone,
        "void": beside < VOID_BELOW * alone,
        "rows": [
            {
                "name": name,
                "tokens_per_s": window / statistics.median(own),
                "noise": (sorted(own)[3 * len(own) // 4] - sorted(own)[len(own) // 4])
                / statistics.median(own),
                **ratio([b / o for b, o in zip(base, own, strict=True)]),
            }
            for name, own in times.items()
        ],
    }
    if arguments.gguf and arguments.llama_bench:
        result["llama.cpp"] = [llama(arguments, file) for file in arguments.gguf]
    elif arguments.gguf:
        result["llama.cpp"] = "skipped: no llama-bench on PATH (--llama-bench)"
    return result


def plain(model: Any, ids: torch.Tensor) -> float:
    """What a user writes: all logits, float32, cross-entropy."""
    with torch.inference_mode():
        logits = model(ids[:, :-1], use_cache=False).logits.float()
        return float(functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum")) / math.log(2)


def coder(model: Any, ids: torch.Tensor) -> Callable[[], float]:
    """What kbit's language-model coder does with a window."""
    reader = LogitReader(model)
    wanted = torch.ones_like(ids[:, :-1], dtype=torch.bool)

    def score() -> float:
        total, done = 0.0, 0
        with torch.inference_mode():
            for piece in reader.pieces(ids[:, :-1], None, wanted):
                total += float(target_bits(piece, ids[0, 1 + done : 1 + done + len(piece)]).sum())
                done += len(piece)
        return total

    return score


def timed(call: Callable[[], float]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(ratios: list[float]) -> dict[str, float | list[float]]:
    """Median of paired ratios and its bootstrap interval."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(1000))
    return {"ratio": statistics.median(ratios), "ci95": [medians[25], medians[974]]}


def llama(arguments: argparse.Namespace, file: str) -> dict[str, Any]:
    """llama.cpp's prompt speed, in a process of its own (its OpenMP pool would clash with PyTorch's)."""
    command = [arguments.llama_bench, "-m", file, "-p", str(arguments.window), "-n", "0", "-o", "json",
               "-t", str(arguments.threads), "-r", "3"]  # fmt: skip
    row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    return {"file": file, "type": row["model_type"], "tokens_per_s": row["avg_ts"], "noise": row["stddev_ts"]}


if __name__ == "__main__":
    main()
