"""Generating: tokens a second of the core's step beside llama.cpp, Transformers and three 4-bit libraries.

    python benchmarks/decode_models.py --shape 134m --out FOLDER …        # once
    python benchmarks/decode.py FOLDER --peer-python PYTHON [--tokens 32] [--rounds 5] [--prompt 512]

Every contestant is a process of its own (decode_worker.py) that has loaded its model and sleeps until asked.
Each k is paired with the llama.cpp type whose stored bytes a token are nearest, and 4 bits with every Python
peer. In a round each of a pair decodes once, in turn, in changing order; the ratio is the median over rounds
of the two times of one round, the interval is its order statistics' (95% from 6 rounds on; fewer: the range).
The physical limit is the read bandwidth of this machine, measured in the same run.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from decode_models import FORMATS, GGUF_TYPES

HERE = Path(__file__).parent
PEERS = ("transformers", "bitsandbytes", "torchao", "quanto")


class Worker:
    """A contestant's process."""

    def __init__(
        self, python: str, kind: str, model: Path, options: argparse.Namespace, repack: str = "on"
    ) -> None:
        self.again = (python, kind, model, options)
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        self.kind, self.name = kind, kind if kind in PEERS else model.stem
        self._process = subprocess.Popen(
            [python, str(HERE / "decode_worker.py"), kind, str(model), str(options.threads),
             "--flash", options.flash, "--repack", repack],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE if options.silent else None,
            text=True, env=environment,
        )  # fmt: skip
        line = self._out.readline()
        if not line:
            raise RuntimeError(f"{kind} {model}: it ended with {self._process.wait()}")
        self.facts: dict[str, Any] = json.loads(line)

    @property
    def _out(self) -> Any:
        return self._process.stdout

    def ask(self, **request: Any) -> float:
        """Seconds that a request took."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._out.readline()
        if not line:
            raise RuntimeError(f"{self.name}: it ended with {self._process.wait()} at {request}")
        return float(json.loads(line)["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def bandwidth(threads: int) -> float:
    """GB/s of reading memory beyond the caches, as `kbit doctor` measures it."""
    from kbit.advise.bandwidth import read_bandwidth

    return read_bandwidth(threads)


def interval(ratios: list[float]) -> tuple[float, float]:
    """About 95% for the median, by order statistics."""
    ordered, n = sorted(ratios), len(ratios)
    cut = 0
    while 2 * sum(math.comb(n, i) for i in range(cut + 1)) / 2**n <= 0.05:
        cut += 1
    cut = max(0, cut - 1)
    return ordered[cut], ordered[n - 1 - cut]


def duel(kbit: Worker, peer: Worker, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rounds of one pair; a row for each numerics of kbit.

    Where a peer dies of a prompt (llama.cpp's AMX code does, of some types), it goes on without repacking.
    """
    rows = []
    contests = [("decode", numerics, options.tokens) for numerics in options.numerics]
    if options.prompt:
        contests += [("prompt", numerics, options.prompt) for numerics in options.numerics]
    ready = False
    for do, numerics, tokens in contests:
        if (rounds := options.rounds if do == "decode" else options.prompt_rounds) < 1:
            continue
        kbit.ask(do=do, tokens=2 if do == "decode" else tokens, numerics=numerics)  # its decoder is made
        if do == "prompt" and not ready:
            try:
                peer.ask(do=do, tokens=tokens)
            except RuntimeError as error:
                print(f"       {error}; again without repacking", file=sys.stderr)
                peer = Worker(*peer.again, repack="off")
                peer.ask(do=do, tokens=tokens)
            ready = True
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                if which:
                    ours.append(kbit.ask(do=do, tokens=tokens, numerics=numerics))
                else:
                    theirs.append(peer.ask(do=do, tokens=tokens))
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        low, high = interval(ratios)
        row = {
            "do": do,
            "kbit": kbit.name,
            "numerics": numerics,
            "peer": peer.name,
            "ratio": statistics.median(ratios),
            "low": low,
            "high": high,
        }
        for side, worker, times in (("kbit", kbit, ours), ("peer", peer, theirs)):
            speed = tokens / statistics.median(times)
            read = worker.facts["bytes_a_token"]
            row |= {f"{side}_tokens_per_s": speed, f"{side}_bytes_a_token": read}
            row |= {
                f"{side}_gb_per_s": speed * read / 1e9,
                f"{side}_resident": worker.facts["resident_bytes"],
            }
        rows.append(row)
        print(told(row, options.limit), file=sys.stderr, flush=True)
    return rows


def told(row: dict[str, Any], limit: float) -> str:
    """A row as a line."""
    parts = [f"{row['do']:6} {row['kbit']} {row['numerics']}"]
    for side in ("kbit", "peer"):
        if side == "peer":
            parts.append(f"| {row['peer']}")
        parts.append(
            f"{row[side + '_tokens_per_s']:.1f} tok/s {row[side + '_bytes_a_token'] / 1e6:.0f} MB/tok"
        )
        if row["do"] == "decode":
            share = row[f"{side}_gb_per_s"] / limit
            parts.append(f"{row[side + '_gb_per_s']:.1f} GB/s ({share:.2f})")
        parts.append(f"{row[side + '_resident'] / 2**30:.2f} GiB")
    parts.append(f"=> {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]")
    return " ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="made by decode_models.py")
    parser.add_argument(
        "--peer-python", help="an interpreter with llama-cpp-python, gguf and the Python peers"
    )
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--numerics", nargs="+", default=["a8", "a16"])
    parser.add_argument("--peers", nargs="*", default=["llama", *PEERS])
    parser.add_argument(
        "--every-type", action="store_true", help="also llama.cpp's types that no k is paired with"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--prompt", type=int, default=0, help="tokens of a prompt; 0 leaves prompts out")
    parser.add_argument("--prompt-rounds", type=int, default=3)
    parser.add_argument("--flash", choices=("on", "off"), default="on", help="flash attention of llama.cpp")
    parser.add_argument("--verbose", dest="silent", action="store_false")
    parser.add_argument("--json", type=Path, help="write all rows here")
    options = parser.parse_args()
    options.limit = bandwidth(options.threads)
    print(f"read bandwidth, {options.threads} threads: {options.limit:.1f} GB/s", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    files = {name: options.folder / f"{name}.gguf" for name in ("F16", *GGUF_TYPES)}
    types = {name: path for name, path in files.items() if path.exists()} if "llama" in options.peers else {}
    python = options.peer_python or sys.executable
    left = dict(types)
    system = None
    for text in options.formats:
        ours = Worker(sys.executable, "kbit", options.folder / text.replace(":", "-"), options)
        wanted = []
        if types:
            nearest = min(
                types,
                key=lambda name: abs(math.log(gguf_read(types[name], python) / ours.facts["bytes_a_token"])),
            )
            wanted.append(("llama", types[nearest]))
            left.pop(nearest, None)
        if "4" in text.split(":")[0]:
            wanted += [(kind, options.folder / "bf16") for kind in PEERS if kind in options.peers]
            if options.every_type:
                wanted += [("llama", path) for path in left.values()]
        for kind, model in wanted:
            try:
                peer = Worker(sys.executable if kind == "transformers" else python, kind, model, options)
            except RuntimeError as error:
                print(error, file=sys.stderr)
                continue
            system = peer.facts.get("system", system)
            rows += duel(ours, peer, options)
            peer.close()
        print(
            f"       {text}: resident {ours.facts['resident_bytes'] / 2**20:.0f} MiB, "
            f"{ours.facts['interpreter_bytes'] / 2**20:.0f} of it before loading; stored "
            f"{ours.facts['stored_bytes'] / 2**20:.0f}, cache {ours.facts['cache_bytes'] / 2**20:.0f}",
            file=sys.stderr,
        )
        ours.close()
    print(f"llama.cpp: {system}; flash attention {options.flash}", file=sys.stderr)
    for do in ("decode", "prompt"):
        for numerics in options.numerics:
            ratios = [
                row["ratio"]
                for row in rows
                if (row["do"], row["numerics"]) == (do, numerics)
                and row["peer"] in nearest_of(rows, row, types)
            ]
            if ratios:
                mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
                print(f"{do} {numerics}: geometric mean over {len(ratios)} widths {mean:.3f}")
    if options.json:
        options.json.write_text(
            json.dumps({"bandwidth_gb_per_s": options.limit, "system": system, "rows": rows})
        )


def nearest_of(rows: list[dict[str, Any]], row: dict[str, Any], types: Any) -> set[str]:
    """The llama.cpp type paired with a row's format: the first that its format met."""
    return {r["peer"] for r in rows if r["kbit"] == row["kbit"] and r["peer"] in types} & {
        next((r["peer"] for r in rows if r["kbit"] == row["kbit"]), "")
    }


_read: dict[Path, int] = {}
_CODE = """import sys
sys.path.insert(0, sys.argv[1])
from decode_worker import gguf_sizes
whole, unread = gguf_sizes(sys.argv[2])
print(whole - unread)"""


def gguf_read(path: Path, python: str) -> int:
    """Bytes of a GGUF file that one token reads."""
    if path not in _read:
        command = [python, "-c", _CODE, str(HERE), str(path)]
        _read[path] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return _read[path]


if __name__ == "__main__":
    main()
