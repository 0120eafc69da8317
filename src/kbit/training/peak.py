"""What share of a device's best a training reaches: the roof is its own bfloat16 matrix product, measured."""

import time
from functools import cache

import torch

SIDE, LEAST_S = 2048, 0.3


@cache
def peak_flops_per_s(device: str, threads: int) -> float:
    """FLOP/s of a large bfloat16 matrix product, the best of several within a third of a second.

    Args:
        device: such as `cpu` or `cuda:0`.
        threads: of the process; a part of the key, not set here.
    """
    # Of a generator of its own: the global one's state is kept in checkpoints.
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn(SIDE, SIDE, generator=generator, device=device).to(torch.bfloat16)
    best, began, rounds = float("inf"), time.perf_counter(), 0
    while time.perf_counter() - began < LEAST_S or rounds < 3:
        started = time.perf_counter()
        a @ a
        if a.is_cuda:
            torch.cuda.synchronize(a.device)
        best, rounds = min(best, time.perf_counter() - started), rounds + 1
    return 2 * SIDE**3 / best
