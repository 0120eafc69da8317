"""The table of data types against published tables."""

import numpy as np
import pytest
import torch

from kbit.formats import ALIASES, DATATYPES
from kbit.formats.tables import round_to_bfloat16

PACKED = [row for row in DATATYPES.values() if row.is_packed and row.window is None]

# Dettmers et al. 2023 (QLoRA), appendix E.
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
]  # fmt: skip
# OCP Microscaling Formats v1.0, table of FP4 and FP6 values (non-negative half).
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
E3M2 = [m / 4 * 2**-2 for m in range(4)] + [
    (1 + m / 4) * 2.0 ** (e - 3) for e in range(1, 8) for m in range(4)
]
E2M3 = [m / 8 for m in range(8)] + [(1 + m / 8) * 2.0 ** (e - 1) for e in range(1, 4) for m in range(8)]


def test_every_type_and_every_split_is_there() -> None:
    names = {row.name for row in PACKED}
    assert {f"int{k}" for k in range(1, 9)} | {f"uint{k}" for k in range(1, 9)} <= names
    assert {f"nf{k}" for k in range(2, 9)} <= names
    splits = {f"e{e}m{k - 1 - e}" for k in range(2, 9) for e in range(1, k)}
    assert splits <= names
    assert {f"{kind}{k}" for kind in ("dyn", "quantile") for k in range(3, 9)} <= names
    assert {f"lloyd{k}" for k in range(1, 9)} <= names
    assert len(names) == 8 + 8 + 7 + 28 + 6 + 6 + 8
    assert set(DATATYPES) - names == {"bf16", "fp16", "fp32"} | {f"tcq{k}" for k in range(1, 9)}


@pytest.mark.parametrize("row", [r for r in PACKED if not r.stored_table], ids=lambda row: row.name)
def test_entries_are_ascending_distinct_and_exact_in_bfloat16(row) -> None:
    entries = row.entries()
    assert np.all(np.diff(entries) > 0)
    assert len(entries) in (2**row.bits, 2**row.bits - 1)
    as_bf16 = torch.tensor(entries).bfloat16().float().numpy()
    np.testing.assert_array_equal(as_bf16, entries)
    table = row.table()
    assert len(table) == 2**row.bits
    np.testing.assert_array_equal(table[: len(entries)], entries)
    assert table[-1] == entries[-1]
    assert row.source


def test_nf4_is_the_published_table_rounded_to_bfloat16() -> None:
    expected = torch.tensor(NF4, dtype=torch.float64).bfloat16().float().numpy()
    np.testing.assert_array_equal(DATATYPES["nf4"].entries(), expected)


@pytest.mark.parametrize(("name", "half"), [("e2m1", E2M1), ("e3m2", E3M2), ("e2m3", E2M3)])
def test_floats_are_the_ocp_values_up_to_a_power_of_two(name: str, half: list[float]) -> None:
    positive = DATATYPES[name].entries()
    positive = positive[positive >= 0]
    ratio = positive[-1] / half[-1]
    assert np.log2(ratio) == round(np.log2(ratio))
    np.testing.assert_array_equal(positive, np.array(half) * ratio)


def test_e4m3_and_e5m2_agree_with_torch_where_those_are_finite() -> None:
    for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        every = torch.arange(256, dtype=torch.uint8).view(dtype).float().numpy()
        finite = np.unique(every[np.isfinite(every)])
        ours = DATATYPES[name].entries()
        least = ours[ours > 0][0]
        scaled = ours * (finite[finite > 0][0] / least)
        assert set(finite) <= set(scaled)
        # We spend no code on infinity and NaN: theirs ends earlier.
        assert len(scaled) > len(finite)


def test_integers_are_symmetric_and_truncated() -> None:
    np.testing.assert_array_equal(DATATYPES["int3"].entries(), [-3, -2, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(DATATYPES["int8"].entries(), np.arange(-127, 128))
    np.testing.assert_array_equal(DATATYPES["int1"].entries(), [-1, 1])
    np.testing.assert_array_equal(DATATYPES["uint8"].entries(), np.arange(256))


def test_the_papers_floats() -> None:
    assert [ALIASES[f"float{k}"] for k in range(3, 9)] == ["e2m0", "e2m1", "e3m1", "e3m2", "e4m2", "e4m3"]


def test_rounding_to_bfloat16_is_torchs() -> None:
    values = np.random.default_rng(0).standard_normal(20000).astype(np.float32) * 1e3
    expected = torch.tensor(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(round_to_bfloat16(values), expected)
