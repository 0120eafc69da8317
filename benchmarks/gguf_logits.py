"""Logits of GGUF files in kbit beside llama.cpp's own, on the same tokens.

    python benchmarks/gguf_logits.py FILE.gguf … [--quantize LLAMA_QUANTIZE --types Q8_0 Q4_K_M Q2_K]
        [--llama-python PYTHON] [--json FILE]

For each file, and each type that llama-quantize makes of it: relative error of the logits (root mean square
of the difference over that of llama.cpp's, both centred), the mean KL in bits a token, and how often the
likeliest token is the same. `exact` is against llama.cpp run on the same numbers unpacked to float32 by
llama-quantize, so that only the forward pass differs; `native` is against llama.cpp on the file itself, which
also rounds activations to 8 bits. llama.cpp keeps its cache in float32 here.
`tokens` says whether both cut a text into the same tokens. PYTHON must import llama_cpp.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TEXT = "Two numbers: 3.14 and 2,718. It's (not) the end!\n\n    def f(x): return x  # naïve café 日本語\n"
TOKENS = 96


def llama_logits(file: str, out: str) -> None:
    """Runs where llama_cpp is: logits for the tokens 7 i mod 2000, and the tokens of TEXT."""
    import llama_cpp

    f32 = llama_cpp.GGML_TYPE_F32
    model = llama_cpp.Llama(
        file, n_ctx=128, n_batch=128, logits_all=True, verbose=False, n_threads=1, type_k=f32, type_v=f32
    )
    ids = [7 * i % 2000 for i in range(TOKENS)]
    model.eval(ids)
    np.save(out, model.scores[:TOKENS].copy())
    Path(out).with_suffix(".json").write_text(json.dumps(model.tokenize(TEXT.encode(), add_bos=False)))


def run_llama(python: str, file: Path, folder: Path) -> tuple[np.ndarray, list[int]]:
    """The same in a process of its own."""
    out = folder / "logits.npy"
    subprocess.run([python, __file__, "--worker", str(file), str(out)], check=True, stderr=subprocess.DEVNULL)
    return np.load(out), json.loads(out.with_suffix(".json").read_text())


def kbit_logits(file: Path) -> tuple[np.ndarray, list[int], float]:
    """Logits in float32, the tokens of TEXT, and stored bits a weight of the body."""
    import torch

    from kbit.models import load, load_tokenizer, stored_bits

    model, tokenizer = load(file, dtype=torch.float32), load_tokenizer(file)
    with torch.no_grad():
        logits = model(torch.arange(TOKENS)[None] * 7 % 2000).logits[0].numpy()
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    return logits, ids, stored_bits(file).body_bits_per_weight


def compare(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Figures of logits `a` against the reference `b`."""
    a, b = (x.astype(np.float64) - x.mean(axis=1, keepdims=True) for x in (a, b))
    p, q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (b, a))
    return {
        "relative_error": float(np.sqrt(((a - b) ** 2).mean() / (b**2).mean())),
        "kl_bits_a_token": float((np.exp(p) * (p - q)).sum(axis=1).mean() / np.log(2)),
        "same_top": float((a.argmax(axis=1) == b.argmax(axis=1)).mean()),
    }


def rows_of(file: Path, options: argparse.Namespace, folder: Path) -> list[dict]:
    """A file as it is, and at each type."""
    rows = []
    for kind in ["as given", *(options.types if options.quantize else [])]:
        made, unpacked = file, folder / "unpacked.gguf"
        if kind != "as given":
            made = folder / "made.gguf"
            quantise = (
                [options.quantize, "--allow-requantize", "--pure"] if options.pure else [options.quantize]
            )
            done = subprocess.run([*quantise, file, made, kind], capture_output=True, text=True)
            if done.returncode:
                rows.append(
                    {"file": file.name, "type": kind, "error": done.stdout[-200:] + done.stderr[-200:]}
                )
                continue
        logits, ids, bits = kbit_logits(made)
        native, their_ids = run_llama(options.llama_python, made, folder)
        row = {"file": file.name, "type": kind, "body_bits_per_weight": bits, "tokens": ids == their_ids,
               "native": compare(logits, native)}  # fmt: skip
        if options.quantize:
            unpack = [options.quantize, "--allow-requantize", made, unpacked, "F32"]
            subprocess.run(unpack, check=True, capture_output=True)
            row["exact"] = compare(logits, run_llama(options.llama_python, unpacked, folder)[0])
        rows.append(row)
        print(line(row), flush=True)
    return rows


def line(row: dict) -> str:
    """A row of the table."""
    cells = [
        row["file"],
        row["type"],
        f"{row['body_bits_per_weight']:.3f}",
        "same" if row["tokens"] else "DIFFERENT",
    ]
    for what in ("exact", "native"):
        found = row.get(what)
        cells += ["-"] * 3 if found is None else [
            f"{found['relative_error']:.1e}", f"{found['kl_bits_a_token']:.1e}", f"{found['same_top']:.3f}"
        ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--quantize")
    parser.add_argument("--types", nargs="*", default=["Q8_0", "Q4_K_M", "Q2_K"])
    parser.add_argument("--pure", action="store_true", help="one type for all tensors")
    parser.add_argument("--llama-python", default=sys.executable)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        llama_logits(*options.worker)
        return
    print(
        "| file | type | bits | tokens | exact: error | KL | top | native: error | KL | top |\n"
        + "|---" * 10
        + "|"
    )
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for file in options.files:
            rows += rows_of(file, options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
