"""What 8-bit activations cost: bits per byte with them less those without, on the same packed weights.

    python benchmarks/eight_bit_activations.py [MODEL…] [--formats int4:b64 …] [--csv FILE]

Without MODEL, the shipped ladder. Differences are paired by document of the ladder's held-out text; intervals
are percentiles of resampled documents (95%).
"""

import argparse
import csv
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from kbit.coders import LanguageModelCoder
from kbit.corpus import read_documents
from kbit.information.estimate import paired_bootstrap
from kbit.ladder.models import rungs
from kbit.models import load, load_tokenizer
from kbit.quantize import quantize_model

FORMATS = ("int8:b64", "nf8:b64", "int6:b64", "int4:b64", "nf4:b64", "nf3:b64", "nf2:b64")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--csv", type=Path, help="write the rows here as well")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = []
    for model in options.models or rungs():
        for text in options.formats:
            rows.append(row := compared(model, text))
            print(
                f"{row['model']} {row['format']:9} a16 {row['bits_per_byte']:.4f}  "
                f"a8 {row['cost']:+.5f} ({row['low']:+.5f} to {row['high']:+.5f})",
                flush=True,
            )
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    for text in options.formats:
        costs = [row["cost"] for row in rows if row["format"] == text]
        print(f"{text}: {min(costs):+.5f} to {max(costs):+.5f} bits per byte", file=sys.stderr)


def compared(model: Path, text: str) -> dict[str, Any]:
    """One model at one format, both ways."""
    documents = list(read_documents(["ladder:held-out"]))
    tokenizer = load_tokenizer(model)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed"
        quantize_model(model, packed, format=text)
        lengths = {}
        for numerics in ("a16", "a8"):
            loaded = load(packed, dtype=torch.float32, numerics=numerics)
            coder = LanguageModelCoder(loaded, tokenizer, name=numerics)
            lengths[numerics] = list(coder.code_lengths(documents))
    bits = {numerics: [length.bits for length in each] for numerics, each in lengths.items()}
    sizes = [length.bytes for length in lengths["a16"]]
    cost = paired_bootstrap([b - a for a, b in zip(bits["a16"], bits["a8"], strict=True)], sizes)
    return {
        "model": model.name,
        "format": text,
        "bits_per_byte": sum(bits["a16"]) / sum(sizes),
        "cost": cost.value,
        "low": cost.ci95[0] if cost.ci95 else None,
        "high": cost.ci95[1] if cost.ci95 else None,
    }


if __name__ == "__main__":
    main()
