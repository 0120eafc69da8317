"""How fast this machine reads memory: measured, because it bounds the speed of generation."""

import statistics
import time

READ_BYTES = 256 << 20
PASSES = 5


def read_bandwidth(threads: int | None = None) -> float:
    """10^9 bytes a second at which a sum reads memory: the median of five passes over a quarter of a GiB.

    Args:
        threads: as many as PyTorch uses, where None.
    """
    import torch

    before = torch.get_num_threads()
    values = torch.ones(READ_BYTES // 8, dtype=torch.int64)
    torch.set_num_threads(before if threads is None else threads)
    times = []
    try:
        for _ in range(PASSES):
            start = time.perf_counter()
            values.sum()
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return READ_BYTES / statistics.median(times) / 1e9
