"""Running what a model wrote: in a process of its own, with little time and memory, and nothing to lose.

This bounds accidents, endless loops and greed. It is no jail against malice: a program runs with the rights
of the one who asked for it, which is why nothing runs unless it is asked for.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["passed", "failed", "timeout"]
STOPS = ("\ndef ", "\nclass ", "\nif ", "\nprint", "\nassert", "\n#", "\n@", "\n```")
"""Where the body of a function has ended: the first line that begins at the margin."""
# Sets its own limits, which nothing after it can raise, and only then reads the program.
_BOOT = """
import resource, runpy, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2]) << 20
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
del resource, seconds, memory
runpy.run_path(sys.argv[3], run_name="__main__")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a program may take.

    Attributes:
        seconds: of processor time; twice as much by the clock.
        memory_mib: of address space.
    """

    seconds: int = 5
    memory_mib: int = 512


def run_program(source: str, limits: Limits) -> tuple[Outcome, str]:
    """Run Python in an empty folder, without the environment, standard input or site packages.

    Args:
        source: the program, its tests at the end: it passed where it ends without an error.
        limits: of time and memory; also on files (1 MiB) and open files.

    Returns:
        What came of it, and the last of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="kbit-program-") as outer:
        folder = Path(outer) / "work"
        folder.mkdir()
        file, said = folder / "program.py", Path(outer) / "said"
        file.write_text(source, encoding="utf-8", errors="replace")
        with said.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _BOOT, str(limits.seconds), str(limits.memory_mib),
                 str(file)],
                cwd=folder,
                env={"PATH": "/nonexistent", "HOME": str(folder), "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = child.wait(timeout=2 * limits.seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                # Whatever it started is of its session, and goes with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        told = said.read_bytes()[-400:].decode(errors="replace")
    if code is None or code == -signal.SIGXCPU:
        return "timeout", f"no end after {limits.seconds} s of processor time or twice as much by the clock"
    return ("passed" if code == 0 else "failed"), told


def program_of(prompt: str, written: str, test: str, entry_point: str) -> str:
    """A whole program: the prompt, what was written after it, the tests, and the call of them.

    The tests may define `check(candidate)`, as HumanEval's do, or be plain assertions.
    """
    call = f"\ncheck({entry_point})\n" if "def check(" in test else "\n"
    return f"{prompt}{written}\n\n{test}\n{call}"
