"""The most memory this process had resident, since a moment of its own choosing."""

import resource
import sys
from pathlib import Path

MIB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> bool:
    """Begin anew to watch the peak; False where the system cannot (the peak is then that since the start)."""
    try:
        _CLEAR.write_text("5")  # Linux: forgets the high-water mark, proc(5)
    except OSError:
        return False
    return True


def peak_memory_bytes() -> int:
    """The most memory resident at once since `reset_peak`, or since the process began."""
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(line.split()[1]) * 1024
