"""Which process does a piece of work, and whether it still lives: for claims, and for folders left behind."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """Name this process so that another one can tell later whether it still lives.

    Host, process number and the moment it started: a number that the system gave to another process since
    does not look like the old one.
    """
    return f"{_host()}:{os.getpid()}:{_started(os.getpid()) or 0}"


def is_alive(owner: str) -> bool | None:
    """Whether the process named so lives; None if it runs on another host, where that cannot be seen.

    >>> is_alive(this_process())
    True
    """
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    started = owner.rpartition(":")[2]
    if host != _host() or not rest.isdigit():
        return None
    pid = int(rest)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and is another user's
    now = _started(pid)
    return now is None or started in {"0", str(now)}


def _host() -> str:
    return socket.gethostname().replace(":", "_").replace("/", "_")


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None where /proc does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses: count the fields from the last one.
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if fields[0] not in {"Z", "X"} else -1
