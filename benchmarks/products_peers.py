"""Products of kbit against those of other libraries, in interleaved pairs.

    python benchmarks/products_peers.py --peers-python /path/to/python --out products.json

A pair is kbit at one format and a peer at its own, each in a process of its own below this one. Each is
first timed alone, then they take turns; the ratio is the median over turns of the peer's time by kbit's, with
a bootstrap interval of 95%. A pair in which either falls below 0.9 of its speed alone is void. A peer that is
not installed for `--peers-python` is named as skipped, with the reason.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAIRS = [
    ("nf4:b64", "torch", "bf16"),
    ("int8:b64", "torch", "bf16"),
    ("int2:b64", "torch", "bf16"),
    ("nf4:b64", "bitsandbytes", "nf4"),
    ("int8:b64", "bitsandbytes", "int8"),
    ("int4:b64", "torchao", "int4"),
    ("int8:b64", "torchao", "int8"),
    ("int8:b64", "quanto", "int8"),
    ("int4:b64", "quanto", "int4"),
    ("int2:b64", "quanto", "int2"),
]
VOID_BELOW = 0.9
SETTLE = 0.05  # seconds: a pool of threads that has just worked still spins


class Worker:
    """A contestant's process; `rounds` of it take about as long as a turn should."""

    def __init__(self, python: str, kind: str, text: str, options: argparse.Namespace) -> None:
        bits = 16 if text == "bf16" else int("".join(c for c in text.split(":")[0] if c.isdigit()))
        count = max(2, round(options.gib * 2**33 / bits / options.rows / options.cols))
        self.weights = count * options.rows * options.cols
        numbers = (options.rows, options.cols, count, options.inputs, options.threads)
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("products_worker.py")), kind, text, *map(str, numbers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        first = self._line()
        if not first:
            self.process.wait()
            assert self.process.stderr is not None
            raise OSError(self.process.stderr.read().strip().splitlines()[-1])
        self.bits = json.loads(first)["bits"]
        self.rounds = 1
        self.rounds = max(1, round(options.turn / self.timed()))

    def timed(self) -> float:
        """Seconds a round."""
        assert self.process.stdin is not None
        time.sleep(SETTLE)
        self.process.stdin.write(f"{self.rounds}\n")
        self.process.stdin.flush()
        return float(self._line()) / self.rounds

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def pair(text: str, peer: str, peer_text: str, options: argparse.Namespace) -> dict[str, Any]:
    """One pair: speeds in billion weights a second, the ratio and its interval."""
    told: dict[str, Any] = {"kbit": text + options.suffix, "peer": f"{peer} {peer_text}"}
    ours = Worker(sys.executable, "kbit", text + options.suffix, options)
    try:
        alone = statistics.median(ours.timed() for _ in range(5))
        try:
            theirs = Worker(options.peers_python, peer, peer_text, options)
        except OSError as why:
            return told | {"skipped": str(why)}
        try:
            theirs_alone = statistics.median(theirs.timed() for _ in range(5))
            times = [(ours.timed(), theirs.timed()) for _ in range(options.turns)]
        finally:
            theirs.close()
    finally:
        ours.close()
    mine, other = (statistics.median(t[i] for t in times) for i in (0, 1))
    ratios = [b / theirs.weights * ours.weights / a for a, b in times]
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(1000))
    return told | {
        "kbit_gw_per_s": ours.weights / mine / 1e9,
        "peer_gw_per_s": theirs.weights / other / 1e9,
        "kbit_bits": ours.bits,
        "peer_bits": theirs.bits,
        "ratio": statistics.median(ratios),
        "ci95": [medians[25], medians[974]],
        "void": mine > alone / VOID_BELOW or other > theirs_alone / VOID_BELOW,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers-python", default=sys.executable, help="that has the peers installed")
    parser.add_argument("--peers", nargs="+", default=sorted({peer for _, peer, _ in PAIRS}))
    parser.add_argument("--suffix", default="", help="put behind kbit's formats, such as :a8")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--cols", type=int, default=4096)
    parser.add_argument("--inputs", type=int, default=1, help="rows of activations")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gib", type=float, default=0.4, help="of weights read in a round")
    parser.add_argument("--turn", type=float, default=0.2, help="seconds a turn takes, about")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--out", help="a JSON file for the rows")
    options = parser.parse_args()
    rows = []
    for text, peer, peer_text in PAIRS:
        if peer in options.peers:
            rows.append(pair(text, peer, peer_text, options))
            print(json.dumps(rows[-1]), flush=True)
    if options.out:
        Path(options.out).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
