"""What Dettmers & Zettlemoyer 2022 found at 3 to 5 bits, tested on small models with paired intervals.

    python benchmarks/paper_findings.py MODEL… --text HELD_OUT… [--tokens 8000] [--of-each 256] [--csv FILE]

Each line of the table is one of their sentences as a difference of two ways to quantise the linear layers
(nearest entries; embedding and output layer in 16 bits): bits per byte of the first less those of the second,
and its KL divergence to the 16-bit model over that of the second, resampled by document in pairs. Below zero,
or below one, the first is better; an interval that holds zero, or one, tells nothing.
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import torch
from quality_eval import Sums, Yardstick
from torch import Tensor

from kbit.corpus import read_documents
from kbit.formats import decode, encode, parse_format
from kbit.information.estimate import paired_bootstrap
from kbit.models.locate import read_config
from kbit.models.stored_parts import part_specs
from kbit.quantize.coded import CodedWeights
from kbit.quantize.plan import Choice, make_plan

# What is claimed, the first way, the second: a format and, after a space, a method.
CLAIMS = (
    ("4 bits: block 64 better than 1024", "float4:flat64", "float4:flat1024"),
    ("so for integers", "int4:flat64", "int4:flat1024"),
    ("block 64 almost as good as a fifth bit", "float4:flat64", "float5:flat1024"),
    ("4 bits: quantile at least float", "quantile4:flat64", "float4:flat64"),
    ("4 bits: float better than int", "float4:flat64", "int4:flat64"),
    ("4 bits: float better than dynamic", "float4:flat64", "dyn4:flat64"),
    ("5 bits: int better than float", "int5:flat64", "float5:flat64"),
    ("centering does not help float", "float4:flat64:center", "float4:flat64"),
    ("nor int", "int4:flat64:center", "int4:flat64"),
    ("3 bits: the proxy helps", "float3:flat64 proxy2", "float3:flat64"),
    ("so at large blocks", "float3:flat1024 proxy2", "float3:flat1024"),
    ("not block 64 instead of the proxy", "float3:flat64", "float3:flat1024 proxy2"),
)


def weights_of(yard: Yardstick, folder: Path, text: str) -> tuple[dict[str, Tensor], float]:
    """Decoded linear layers of one way, and their stored bits a weight."""
    from kbit.models.inputs import read_transform
    from kbit.models.record import Method
    from kbit.models.safetensors_read import read_folder_tensors
    from kbit.models.skeleton import build_skeleton

    name, _, method = text.partition(" ")
    choice = Choice(
        format=parse_format(name),
        embeddings=None,
        head=None,
        method=Method(name=method or "nearest", version=1),
    )
    skeleton, tensors = build_skeleton(folder), read_folder_tensors(folder)
    plan = make_plan(folder, skeleton, tensors, choice)
    coded = CodedWeights(tensors, plan, skeleton, read_config(folder))
    made, bits = {}, 0
    for record in plan.records:
        changed = coded.coded(record)
        values = decode(encode(changed.weight, record.format))
        made[record.name] = (
            read_transform(record, changed.parts).dense_weight(values) if changed.parts else values
        )
        bits += sum(8 * spec.size_bytes for spec in part_specs(record).values())
    return made, bits / sum(w.numel() for w in yard.original.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--tokens", type=int, default=8000)
    parser.add_argument("--of-each", type=int, default=256)
    parser.add_argument("--csv", type=Path, help="lines are added to it")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    documents = list(read_documents(options.text))
    order = np.random.default_rng(0).permutation(len(documents))
    for folder in options.models:
        yard = Yardstick(folder, [documents[i] for i in order], options.tokens, options.of_each)
        found: dict[str, tuple[Sums, float]] = {}
        print(f"\n{folder.name}: {len(yard.documents)} documents, {yard.tokens} tokens", flush=True)
        for claim, first, second in CLAIMS:
            for way in (first, second):
                if way not in found:
                    weights, bits = weights_of(yard, folder, way)
                    found[way] = yard.measure(weights), bits
            (a, a_bits), (b, b_bits) = found[first], found[second]
            one = paired_bootstrap(a.bits - b.bits, a.bytes)
            kl = paired_bootstrap(a.kl_bits, b.kl_bits)
            print(
                f"{claim:42} {first:24} {second:24} {one.value:+.5f} [{one.low:+.5f}, {one.high:+.5f}] "
                f"KL x{kl.value:.3f} "
                f"[{kl.low:.3f}, {kl.high:.3f}]",
                flush=True,
            )
            row = {
                "model": folder.name, "claim": claim, "first": first, "second": second,
                "first_bits": a_bits, "second_bits": b_bits, "difference_bits_per_byte": one.value,
                "low": one.low, "high": one.high, "kl_ratio": kl.value, "kl_low": kl.low, "kl_high": kl.high,
                "first_loss": (a.bits - yard.sums.bits).sum() / a.bytes.sum(),
                "second_loss": (b.bits - yard.sums.bits).sum() / b.bytes.sum(),
                "documents": len(yard.documents), "tokens": yard.tokens,
            }  # fmt: skip
            if options.csv:
                new = not options.csv.exists()
                with options.csv.open("a", newline="") as handle:
                    writer = csv.DictWriter(handle, fieldnames=list(row))
                    if new:
                        writer.writeheader()
                    writer.writerow(row)


if __name__ == "__main__":
    main()
