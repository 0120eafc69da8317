"""The page's coefficients against `memory_of`, over contexts, windows and batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.advise import memory_of
from kbit.advise.workspace import kernel_bytes
from kbit.report.memory_items import memory_items

MEASURED = {"status": "ok", "gain": 0.5, "gain_low": 0.4, "gain_high": 0.6, "text": "t", "baseline": "b"}
SIZES = {"layers": 6, "kv_heads": 2, "head_dim": 16, "hidden_size": 64, "intermediate_size": 160}
NAMES = {"model": "m", "format": "nf4:b64", "method": "nearest"}
ROW = {**NAMES, **MEASURED, **SIZES, "vocab_size": 2048, "stored_bits": 8 * 2**20}


@given(
    context=st.integers(1, 100_000),
    batch=st.integers(1, 8),
    kv_bits=st.sampled_from([4.0, 8.0, 16.0]),
    window=st.none() | st.integers(1, 4096),
    sliding=st.integers(0, 6),
    shared=st.integers(0, 3),
    core=st.integers(0, 1),
)
def test_coefficients_give_what_memory_of_gives(context, batch, kv_bits, window, sliding, shared, core):
    row = ROW | {"sliding_window": window, "sliding_layers": sliding, "shared_kv_layers": shared}
    row |= {"core_step": core}
    (item,) = memory_items([row], text=None, batch=batch, kv_bits=kv_bits)
    m = item["memory"]
    kept = min(context, m["window"]) if m["window"] else 0
    total = m["weights_bytes"] + context * m["kv_bytes_per_token"] + kept * m["kv_window_bytes_per_token"]
    total += m["working_bytes"] + context * m["working_bytes_per_token"]
    total += min(context, m["panel"] or 0) * m["working_panel_bytes_per_token"]
    assert total == memory_of(row, context=context, batch=batch, kv_bits=kv_bits).total_bytes


def test_hand_written_case():
    (item,) = memory_items([ROW], text=None, batch=1, kv_bits=16)
    assert item["memory"] == {
        "weights_bytes": 2**20,
        "kv_bytes_per_token": 2 * 6 * 2 * 16 * 2,  # keys and values, layers, heads, width, two bytes
        "kv_window_bytes_per_token": 0.0,
        "window": None,
        # logits, what this machine's kernel of nf4 needs, Python's objects
        "working_bytes": 2048 * 8 + kernel_bytes("nf4:b64", largest_matrix=64 * 160) + 1024 * (110 + 80 * 6),
        "working_bytes_per_token": (3 * 64 + 3 * 160 + 2 * 16) * 2,
        "working_panel_bytes_per_token": 0.0,
        "panel": None,
    }


@pytest.mark.parametrize("fact", ["layers", "vocab_size", "stored_bits"])
def test_memory_that_is_not_known_is_none(fact):
    (item,) = memory_items([ROW | {fact: None}], text=None, batch=1, kv_bits=16)
    assert item["memory"] is None
