"""Squared error of formats on Gaussian and on trained weights, against Shannon's bound.

Run: python benchmarks/format_errors.py [--model FOLDER] [--csv FILE] [--picture FILE]
For each format R is the stored bits a weight, scales, offsets and tables among them, and the distance is
log2(MSE / (variance 2^(-2R))) / 2: the bits a weight by which it stays behind the best code of a Gaussian.
On trained weights MSE and variance are sums over the matrices of the model's middle decoder block (of so
many as --blocks says), for the methods `nearest` and `scale-search`; the model is the shipped ladder's top
rung unless another is given. Nothing is timed.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kbit import ladder
from kbit.formats import DATATYPES, decode, gaussian_mse, parse_format, shannon_mse, stored_size
from kbit.formats.gaussian import distance_bits
from kbit.models.layer_names import split_name
from kbit.models.safetensors_read import read_folder_tensors
from kbit.quantize import METHODS

FAMILIES = ("int", "uint", "float", "nf", "dyn", "quantile", "lloyd", "tcq")
BEST_FLOATS = {"e1m0", "e2m0", "e2m1", "e3m1", "e3m2", "e4m2", "e4m3"}
RESTS = ("b64", "b32:q8", "b1024")
METHOD_NAMES = ("nearest", "scale-search")
# Beyond this many bits the methods differ little and the picture is crowded.
MAX_BITS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path(str(ladder.rungs()[-1])))
    parser.add_argument("--blocks", type=int, default=1, help="decoder blocks, the middle ones")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--picture", type=Path, help="a .png or .svg file")
    options = parser.parse_args()
    rows = list(measured(options.model, options.blocks))
    print(f"{'format':24} {'bits':>6} {'Gaussian':>9} " + " ".join(f"{m:>12}" for m in METHOD_NAMES))
    for row in rows:
        figures = " ".join(f"{row[m]:12.3f}" for m in METHOD_NAMES)
        print(f"{row['format']:24} {row['bits_per_weight']:6.3f} {row['gaussian']:9.3f} {figures}")
    if options.csv:
        with options.csv.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if options.picture:
        draw(rows, options.picture)


def formats() -> Iterator[str]:
    """Every family at every k up to six, in three layouts; of the floats the split the paper found best."""
    for name, row in DATATYPES.items():
        wanted = row.family in FAMILIES and (row.family != "float" or name in BEST_FLOATS)
        if row.is_packed and wanted and row.bits <= MAX_BITS:
            yield from (f"{name}:{rest}" for rest in RESTS)


def middle_weights(model: Path, blocks: int) -> list[torch.Tensor]:
    """The matrices of the middle decoder blocks."""
    tensors = read_folder_tensors(model)
    names = {n: split_name(n)[1] for n, t in tensors.tensors.items() if len(t.spec.shape) == 2}
    numbers = sorted({number for number in names.values() if number is not None})
    first = max(0, (len(numbers) - blocks) // 2)
    wanted = numbers[first : first + blocks]
    return [tensors.read(name).float() for name, number in names.items() if number in wanted]


def measured(model: Path, blocks: int) -> Iterator[dict[str, Any]]:
    """A row for each format: bits a weight and distances."""
    weights = middle_weights(model, blocks)
    variance = sum(float(w.double().square().sum()) for w in weights)
    count = sum(w.numel() for w in weights)
    for text in formats():
        fmt = parse_format(text)
        # On a Gaussian the rate a large matrix tends to; on the model its own, table and padding counted.
        rate = stored_size(fmt, (4096, 4096)).bits_per_weight or 0.0
        own = sum(stored_size(fmt, w.shape).total for w in weights) / count
        row = {
            "format": text,
            "family": fmt.datatype.family,
            "layout": text.partition(":")[2],
            "bits_per_weight": rate,
            "model_bits_per_weight": own,
            "gaussian_mse": gaussian_mse(fmt),
            "shannon_mse": shannon_mse(rate),
            "gaussian": distance_bits(gaussian_mse(fmt), rate),
        }
        for method in METHOD_NAMES:
            error = 0.0
            for weight in weights:
                packed = METHODS[method].encode(weight, fmt, None)
                error += float((decode(packed) - weight).double().square().sum())
            row[method] = distance_bits(error / variance, own)
        yield row


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Distance against stored bits a weight, one panel each for Gaussian and trained weights."""
    import altair as alt
    import vl_convert

    what = {"gaussian": "Gaussian", "nearest": "trained, nearest", "scale-search": "trained, scale-search"}
    values = [
        {
            "type": row["family"],
            "layout": row["layout"],
            "weights": label,
            "bits": row["bits_per_weight" if key == "gaussian" else "model_bits_per_weight"],
            "distance": row[key],
        }
        for row in rows
        for key, label in what.items()
    ]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line(point=True)
        .encode(
            x=alt.X("bits:Q", title="stored bits a weight", scale=alt.Scale(domain=[1, 7])),
            y=alt.Y(
                "distance:Q",
                title="bits behind Shannon's bound",
                scale=alt.Scale(domain=[-0.2, 2], clamp=True),
            ),
            color=alt.Color("type:N", title="type", sort=list(FAMILIES)),
            strokeDash=alt.StrokeDash("layout:N", title="layout"),
            column=alt.Column("weights:N", title=None, sort=list(what.values())),
        )
        .properties(width=300, height=320)
    )
    specification = chart.to_dict()
    convert = vl_convert.vegalite_to_png if out.suffix == ".png" else vl_convert.vegalite_to_svg
    made = convert(specification, scale=1.5) if out.suffix == ".png" else convert(specification).encode()
    out.write_bytes(made)


if __name__ == "__main__":
    main()
