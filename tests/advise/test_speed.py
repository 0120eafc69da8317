"""Speed from bandwidth: bytes a step, and a bandwidth that a plain copy confirms."""

import time

import pytest

from kbit.advise import memory_of
from kbit.advise.bandwidth import read_bandwidth
from kbit.advise.speed import speed_of

FACTS = {
    "layers": 2, "kv_heads": 2, "head_dim": 16, "hidden_size": 64, "intermediate_size": 128,
    "vocab_size": 512,
}  # fmt: skip
TABLE = 512 * 64


def row(*, tied, bits=16):
    body = 100_000
    outside = TABLE if tied else 2 * TABLE
    return FACTS | {
        "weights": body + outside, "weights_body": body, "stored_bits": body * 4 + outside * bits,
        "stored_bits_embeddings": outside * bits,
    }  # fmt: skip


def test_a_table_that_is_only_looked_up_is_not_read_and_a_tied_one_is():
    for tied, read in ((True, 100_000 / 2 + TABLE * 2), (False, 100_000 / 2 + TABLE * 2)):
        memory = memory_of(row(tied=tied), context=100, batch=3)
        speed = speed_of(row(tied=tied), memory, bandwidth_gb_per_s=10.0)
        assert speed.step_bytes == pytest.approx(read + 3 * 100 * 2 * 2 * 2 * 16 * 2)
        assert speed.tokens_per_s == pytest.approx(10e9 / speed.step_bytes)


def test_without_knowing_the_table_all_weights_count():
    known = row(tied=False)
    unknown = {k: v for k, v in known.items() if k != "weights_body"}
    memory = memory_of(unknown, context=1)
    assert (
        speed_of(unknown, memory, bandwidth_gb_per_s=1.0).step_bytes == memory.weights_bytes + memory.kv_bytes
    )


def test_bandwidth_is_that_of_reading_memory():
    import numpy as np

    found = read_bandwidth(threads=1)
    values = np.ones(1 << 25, dtype=np.int64)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        values.sum()
        times.append(time.perf_counter() - start)
    # NumPy's sum bounds it from below, loosely, because the machine may be busy
    assert 0.1 * values.nbytes / min(times) / 1e9 < found < 2000
