"""Bits per byte and per character of every coder on several texts, as the table of docs/coders.md.

    python benchmarks/coder_table.py stdlib english=FOLDER chinese=FOLDER wikitext=FOLDER [--model MODEL]

The last two rows are those of a model: a token 3-gram with its tokeniser, and the model itself.

Of each folder's text files, sorted by name, the first eighth (at least one) is held out: eight documents of
16 KB are cut from evenly spaced places of it. The baseline text is a megabyte, cut evenly from the other
files. `stdlib` is the source of this Python's standard library.
"""

import argparse
import sysconfig
import time
from pathlib import Path

from kbit.coders import Coder, baseline, total
from kbit.coders.token_ngram import TokenNgramCoder
from kbit.corpus import Document
from kbit.models import load_tokenizer

CODERS = (
    "uniform", "unigram", "kt-2", "ctw-6", "kneser-ney-3", "kneser-ney-6", "kneser-ney-8", "ctw-6-primed",
    "zstd", "xz", "ppmd", "tokens-3", "model",
)  # fmt: skip
DOCUMENTS, DOCUMENT_BYTES = 8, 16_384


def cut(content: bytes, pieces: int, size: int) -> list[str]:
    """Pieces of a size from evenly spaced places, whole characters only."""
    step = max(1, (len(content) - size) // max(1, pieces - 1))
    return [content[i * step : i * step + size].decode(errors="ignore") for i in range(pieces)]


def texts(place: str, training_bytes: int) -> tuple[list[Document], list[Document]]:
    """Baseline text and held-out documents."""
    if place == "stdlib":
        root = Path(sysconfig.get_path("stdlib"))
        files = sorted(f for f in root.glob("*.py") if f.stat().st_size > 2000)
    else:
        files = sorted(f for f in Path(place).rglob("*.txt"))
    held_out = max(1, len(files) // 8)
    test = b"".join(file.read_bytes() for file in files[:held_out])
    others = files[held_out:]
    share = training_bytes // len(others)
    training = [text for file in others for text in cut(file.read_bytes(), 1, share)]
    return (
        [Document(name=str(i), text=text) for i, text in enumerate(training)],
        [Document(name=str(i), text=text) for i, text in enumerate(cut(test, DOCUMENTS, DOCUMENT_BYTES))],
    )


def make(name: str, training: list[Document], model: str) -> Coder:
    """A coder of the table."""
    if name == "tokens-3":
        return TokenNgramCoder.fit(training, load_tokenizer(model), order=3)
    return baseline(f"model:{model}" if name == "model" else name, training)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", help="stdlib, or NAME=FOLDER")
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--coders", nargs="+", default=CODERS)
    parser.add_argument("--model", default="ladder:rung-7")
    options = parser.parse_args()
    print("| text | coder | bits/byte | bits/character | s |\n|---|---|---|---|---|")
    for given in options.texts:
        name, _, place = given.partition("=")
        training, held_out = texts(place or name, int(options.megabytes * 1e6))
        for coder in options.coders:
            start = time.perf_counter()
            lengths = total(make(coder, training, options.model).code_lengths(held_out))
            wall_s = time.perf_counter() - start
            lost = f" ({lengths.bytes_lost} bytes lost)" if lengths.bytes_lost else ""
            row = f"{lengths.bits_per_byte:.3f} | {lengths.bits_per_character:.3f} | {wall_s:.1f}{lost}"
            print(f"| {name} | {coder} | {row} |", flush=True)


if __name__ == "__main__":
    main()
