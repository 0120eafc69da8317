"""What a command holds in memory over its time: is it flat?

    python benchmarks/resident.py [--every 1] [--told FILE] -- kbit finetune … --json

Runs the command, reads its resident memory (VmRSS of /proc/PID/status, Linux) every so many seconds, and
prints one JSON object on stderr (or in FILE) when it ends: the mean of each tenth of its time, in MiB, how
much the last quarter held above the quarter after the first, and the most of all. The own output passes
through, and its exit code.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

MIB = 1024  # VmRSS is told in KiB


def resident_mib(process: int) -> float | None:
    """Of a process; None where it is gone."""
    try:
        found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) / MIB if found else None


def mean(values: list[float]) -> float | None:
    """Of the values there are."""
    return round(sum(values) / len(values), 1) if values else None


def main() -> int:
    """The command's own exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--told", type=Path)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    began = time.monotonic()
    child = subprocess.Popen(given.command)
    held: list[float] = []
    while child.poll() is None:
        now = resident_mib(child.pid)
        if now is not None:
            held.append(now)
        time.sleep(given.every)
    count = len(held)
    second, last = held[count // 4 : count // 2], held[3 * count // 4 :]
    told = {
        "wall_s": round(time.monotonic() - began, 1),
        "samples": count,
        "mib_by_tenth": [mean(held[count * i // 10 : count * (i + 1) // 10]) for i in range(10)],
        "grown_mib": None
        if not second or not last
        else round(sum(last) / len(last) - sum(second) / len(second), 1),
        "most_mib": round(max(held), 1) if held else None,
    }
    line = json.dumps(told)
    if given.told is None:
        print(line, file=sys.stderr)
    else:
        given.told.write_text(line + "\n")
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
