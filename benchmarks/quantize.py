"""Quantising a model of 3 GB at nearest formats: speed and peak resident memory, beside peers.

    python benchmarks/quantize.py --folder WORK [--shape 1.5b] [--formats …] [--threads 2]
        [--llama-quantize BIN --gguf-python PYTHON] [--bnb-python PYTHON] [--json FILE]

The model has random weights and is written to WORK/model once (3.1 GB; 3.1 more for llama.cpp's F16 file).
Each run is a process of its own. Speed is bfloat16 bytes of the model over the time from reading the first
file to the synced folder, without the start of Python and its imports. llama-quantize is timed whole;
bitsandbytes for the matrices of the model one by one, read from the file, its codes kept in memory and not
written. Peak memory is the process's greatest resident set.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

FORMATS = (
    "nf4:b64",
    "int4:b32",
    "int3:b128",
    "nf2:b64",
    "int8:b64",
    "nf4:b32:q8",
    "uint4:b64",
    "nf4:b64:affine:q8",
)


def work_kbit(folder: Path, out: Path, fmt: str, threads: int) -> None:
    """One run of `quantize_model`."""
    import torch

    from kbit.quantize import quantize_model

    torch.set_num_threads(threads)
    begun = time.perf_counter()
    report = quantize_model(folder, out, format=fmt, embeddings=fmt, head=fmt)
    told(time.perf_counter() - begun, size=report.size_bytes)


def work_bnb(folder: Path, threads: int) -> None:
    """NF4 of every matrix by bitsandbytes."""
    import bitsandbytes.functional as bnb
    import torch
    from safetensors import safe_open

    torch.set_num_threads(threads)
    begun, size, kept = time.perf_counter(), 0, []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                tensor = tensors.get_tensor(name)
                if tensor.ndim == 2:
                    codes, state = bnb.quantize_4bit(tensor, blocksize=64, quant_type="nf4")
                    kept.append((codes, state))
                    size += codes.numel() + state.absmax.numel() * 4
    told(time.perf_counter() - begun, size=size)


def told(wall_s: float, *, size: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall_s": wall_s, "peak_bytes": peak, "size_bytes": size}))


def run(command: list[str], threads: int) -> dict:
    """A worker's figures."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def run_llama(binary: str, source: Path, out: Path, kind: str, threads: int) -> dict:
    """llama-quantize, timed from outside."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [binary, source, out, kind, str(threads)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{binary} failed")
    found = {"wall_s": time.perf_counter() - begun, "peak_bytes": usage.ru_maxrss * 1024}
    return found | {"size_bytes": out.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", default="1.5b")
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--llama-quantize")
    parser.add_argument("--llama-types", nargs="*", default=["Q4_0"])
    parser.add_argument("--gguf-python", default=sys.executable)
    parser.add_argument("--bnb-python")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prepare", action="store_true", help="write the models and end")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model, out = options.folder / "model", options.folder / "out"
    if options.work:
        kind, fmt, threads = options.work
        if kind == "kbit":
            work_kbit(model, out, fmt, int(threads))
        else:
            work_bnb(model, int(threads))
        return
    if not model.exists():
        import random_models

        random_models.write_dense(options.shape, model)
    source = options.folder / "F16.gguf"
    if options.llama_quantize and not source.exists():
        maker = str(Path(__file__).parent / "decode_gguf.py")
        subprocess.run(
            [options.gguf_python, maker, str(model), str(source)], check=True, stdout=subprocess.DEVNULL
        )
    if options.prepare:
        return
    bf16_bytes = sum(f.stat().st_size for f in model.glob("*.safetensors"))
    threads = options.threads
    here = [__file__, "--folder", str(options.folder), "--work"]
    jobs = {f"kbit {fmt}": lambda fmt=fmt: run([sys.executable, *here, "kbit", fmt, str(threads)], threads)
            for fmt in options.formats}  # fmt: skip
    if options.llama_quantize:
        jobs |= {f"llama-quantize {kind}": lambda kind=kind: run_llama(
            options.llama_quantize, source, options.folder / "out.gguf", kind, threads
        ) for kind in options.llama_types}  # fmt: skip
    if options.bnb_python:
        jobs["bitsandbytes nf4"] = lambda: run([options.bnb_python, *here, "bnb", "", str(threads)], threads)
    rows = []
    print(f"{bf16_bytes / 1e9:.2f} GB of bfloat16, {threads} threads\n")
    print("| what | GB/s | seconds | peak GB | bits a weight |\n|---|---|---|---|---|", flush=True)
    for name, job in jobs.items():
        found = []
        for _ in range(options.repeats):
            found.append(job())
            shutil.rmtree(out, ignore_errors=True)
            (options.folder / "out.gguf").unlink(missing_ok=True)
        best = min(found, key=lambda row: row["wall_s"])
        row = best | {"what": name, "gb_a_second": bf16_bytes / 1e9 / best["wall_s"],
                      "bits_per_weight": 16 * best["size_bytes"] / bf16_bytes}  # fmt: skip
        rows.append(row)
        print(f"| {name} | {row['gb_a_second']:.2f} | {row['wall_s']:.1f} | {row['peak_bytes'] / 1e9:.2f} | "
              f"{row['bits_per_weight']:.2f} |", flush=True)  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
