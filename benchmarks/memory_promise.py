"""Memory that `kbit advise` promises, beside resident memory measured: models, formats, contexts.

    python benchmarks/memory_promise.py [--model FOLDER …] [--formats …] [--contexts …] [--json FILE]

Each figure comes from a process of its own, forked from one that has imported the libraries. It loads the
model and runs it once at the same context, which brings in what the libraries compile and keep for these
shapes (oneDNN keeps about 4 MiB, of any model). That copy stays and freed memory is given back: this is the
*baseline*, the interpreter's own share, which `advise` does not count. Then a second copy of the model is
loaded, freed memory is given back again, and it generates until its context is full, twice. In the second of
these resident memory is read after every PyTorch operation that gives 16 KiB or more of new memory
(`--engine transformers`), or by a thread beside the core's step, at least 40 times while it reads the prompt
over and over (`--engine core`, what `kbit generate` takes where it serves the model).
*Measured* is the largest reading less the baseline: all that one more model costs, with its Python objects.

glibc gives a freed block back at once when it is larger than 32 MiB, as those of models in use are, and keeps
smaller ones for later, so a small model's process holds more than it uses. MALLOC_MMAP_THRESHOLD_=16384 makes
it treat blocks of 16 KiB as it treats large ones: that is *measured* and its *ratio*. With glibc's setting
(*own*, its *ratio*) what is held for later is in the figure; *process* is baseline and promise together over
the largest reading of the whole process, in that setting.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

FORMATS = ("bf16", "int8:b64", "nf4:b64", "nf2:b64")
CONTEXTS = (128, 512)
NEW_TOKENS = 2
SAMPLES = 40
READ_FROM = 16384  # bytes of new memory after which it is read
SMALL_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "16384"}


def resident_bytes() -> int:
    """Resident memory of this process now, page by page; counters such as VmRSS lag by up to half a MiB."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])


def run_transformers(model, context: int, read: bool) -> int:
    """Fill the context: a long prompt and a few new tokens. The largest reading, 0 if none is asked for."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if read and self.is_new(args, result):
                self.most = max(self.most, resident_bytes())
            return result

        @staticmethod
        def is_new(args, result) -> bool:
            old = {a.untyped_storage().data_ptr() for a in tree_leaves(args) if isinstance(a, torch.Tensor)}
            made = [r.untyped_storage() for r in tree_leaves(result) if isinstance(r, torch.Tensor)]
            return any(m.nbytes() >= READ_FROM and m.data_ptr() not in old for m in made)

    ids = torch.arange(context - NEW_TOKENS)[None] % model.config.vocab_size
    with torch.inference_mode(), Watch() as watch:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
    return watch.most


class Sampler(threading.Thread):
    """Reads resident memory over and over beside the core, which holds no lock while it computes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = self.count = 0
        self.wanted = True

    def run(self) -> None:
        """Read until told to stop."""
        while self.wanted:
            self.most = max(self.most, resident_bytes())
            self.count += 1


def run_core(model, context: int, read: bool) -> int:
    """The same by the core's step, a new decoder as `kbit generate` makes one, read again and again."""
    import torch

    from kbit.models.decode import CoreDecoder

    sampler = Sampler()
    if read:
        sampler.start()
    with torch.inference_mode():
        prompt = [i % model.config.vocab_size for i in range(context - NEW_TOKENS)]
        decoder, rounds = CoreDecoder(model, room=context), 0
        while rounds < 1 or (read and sampler.count < SAMPLES):
            decoder.rewind(0)
            logits = decoder.read(prompt)
            decoder.step([int(logits.argmax())])
            rounds += 1
    if not read:
        return 0
    sampler.wanted = False
    sampler.join()
    return sampler.most


RUNS = {"transformers": run_transformers, "core": run_core}


def give_back() -> None:
    """Return freed memory to the system, as far as glibc can."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def added(folder: str, context: int, engine: str) -> dict[str, int]:
    """The resident bytes that a second copy of a model adds, at most, and those there were before."""
    import torch

    from kbit.models import load

    torch.set_num_threads(1)
    first = load(folder)
    RUNS[engine](first, context, read=False)
    give_back()
    before = resident_bytes()
    second = load(folder)
    give_back()
    loaded = resident_bytes() - before
    RUNS[engine](second, context, read=False)  # a mapped file comes into memory as it is read
    most = RUNS[engine](second, context, read=True)
    return {"added": max(loaded, most - before), "loaded": loaded, "baseline": before}


def work(jobs: list[list]) -> None:
    """Measure each job in a fork of this process, which has the libraries; a JSON line for each."""
    import kbit.hf
    import kbit.models  # noqa: F401

    fork = multiprocessing.get_context("fork")
    for folder, context, engine in jobs:
        mine, its = fork.Pipe(duplex=False)
        child = fork.Process(
            target=lambda f, c, e, out: out.send(added(f, c, e)), args=(folder, context, engine, its)
        )
        child.start()
        its.close()
        print(json.dumps(mine.recv()), flush=True)
        child.join()


def measure(jobs: list[tuple[str, int, str]], environment: dict[str, str]) -> list[dict[str, int]]:
    """A measurement for each (folder, context, engine)."""
    done = subprocess.run(
        [sys.executable, __file__, "--work", json.dumps(jobs)],
        stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def promised(folder: Path, fmt: str, context: int, engine: str):
    """What `kbit advise` says of the folder."""
    from kbit.advise import memory_of
    from kbit.models import cache_facts, open_model, stored_bits

    facts = cache_facts(open_model(folder).config)
    row = {**facts, "format": fmt, "stored_bits": stored_bits(folder).whole}
    return memory_of(row, context=context, engine=engine)


HEAD = (
    *("model", "format", "context", "weights", "cache", "working", "promised", "measured", "spread", "ratio"),
    *("baseline", "own", "ratio", "process"),
)


def table_of(model: Path, options: argparse.Namespace, place: Path) -> list[dict]:
    """Rows of one model: every format and context."""
    from kbit.quantize import quantize_model

    folders = {}
    for fmt in options.formats:
        folders[fmt] = place / f"{model.name}-{fmt.replace(':', '-')}"
        quantize_model(model, folders[fmt], format=fmt)
    cases = [(fmt, context) for fmt in options.formats for context in options.contexts]
    jobs = [(str(folders[fmt]), context, options.engine) for fmt, context in cases]
    repeats = [measure(jobs, SMALL_BLOCKS) for _ in range(options.repeats)]
    plain = None if options.skip_own else measure(jobs, {})
    rows = []
    for i, (fmt, context) in enumerate(cases):
        memory = promised(folders[fmt], fmt, context, options.engine)
        found = sorted(r[i]["added"] for r in repeats)
        rows.append(
            {
                "model": model.name,
                "engine": options.engine,
                "format": fmt,
                "context": context,
                "weights_bytes": memory.weights_bytes,
                "kv_bytes": memory.kv_bytes,
                "working_bytes": memory.working_bytes,
                "promised_bytes": memory.total_bytes,
                "measured_bytes": found,
                "ratio": memory.total_bytes / median(found),
                "loaded_bytes": [r[i]["loaded"] for r in repeats],
                "baseline_bytes": repeats[0][i]["baseline"],
            }
        )
        if plain is not None:
            own, base = plain[i]["added"], plain[i]["baseline"]
            rows[-1] |= {
                "own_bytes": own,
                "own_ratio": memory.total_bytes / own,
                "process_ratio": (base + memory.total_bytes) / (base + own),
            }
    return rows


def line(row: dict) -> str:
    """A row of the table, in KiB."""
    found = row["measured_bytes"]
    kib = [row["weights_bytes"], row["kv_bytes"], row["working_bytes"], row["promised_bytes"], median(found),
           found[-1] - found[0]]  # fmt: skip
    cells = [row["model"], row["format"], str(row["context"]), *(f"{b / 1024:.0f}" for b in kib)]
    cells += [f"{row['ratio']:.3f}", f"{row['baseline_bytes'] / 1024:.0f}"]
    if "own_bytes" in row:
        cells += [f"{row['own_bytes'] / 1024:.0f}", f"{row['own_ratio']:.3f}", f"{row['process_ratio']:.3f}"]
    else:
        cells += ["", "", ""]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", nargs="*", help="model folders; by default the shipped ladder")
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--contexts", nargs="*", type=int, default=list(CONTEXTS))
    parser.add_argument("--engine", choices=list(RUNS), default="transformers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-own", action="store_true", help="not with glibc's own setting")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(json.loads(options.work))
        return

    import kbit.ladder

    rows: list[dict] = []
    started = time.monotonic()
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        for model in options.model or kbit.ladder.rungs():
            for row in table_of(Path(model), options, Path(place)):
                rows.append(row)
                print(line(row), flush=True)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1))
    print(f"\nKiB. {time.monotonic() - started:.0f} s.")
    for name, key in (
        ("blocks given back", "ratio"),
        ("glibc's own", "own_ratio"),
        ("whole process", "process_ratio"),
    ):
        ratios = [r[key] for r in rows if key in r]
        if not ratios:
            continue
        within = sum(0.9 <= r <= 1.1 for r in ratios)
        print(f"{name}: {within} of {len(ratios)} within 10%; {min(ratios):.3f} to {max(ratios):.3f}.")


if __name__ == "__main__":
    main()
