"""Expected errors against classical values, Shannon's bound and sampling."""

import math

import numpy as np
import pytest
import torch

from kbit.formats import DATATYPES, decode, encode, gaussian_mse, listing, parse_format, shannon_mse
from kbit.formats.gaussian import _cell_errors, distance_bits

# Max 1960, table I: the best quantisers of 2^k levels for a unit Gaussian, and their squared errors.
LLOYD_MAX = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497}
LLOYD_MAX_LEVELS = {
    1: [0.7980],
    2: [0.4528, 1.510],
    3: [0.2451, 0.7560, 1.344, 2.152],
    4: [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733],
}
PACKED = [name for name, row in DATATYPES.items() if row.is_packed and row.window is None]


@pytest.mark.parametrize("k", LLOYD_MAX)
def test_cell_errors_of_lloyd_max_quantisers(k: int) -> None:
    half = LLOYD_MAX_LEVELS[k]
    levels = np.array([-v for v in reversed(half)] + half)
    got = _cell_errors(levels, np.array(-30.0), np.array(30.0))
    assert float(got) == pytest.approx(LLOYD_MAX[k], abs=1.5e-4 * LLOYD_MAX[k] + 5e-6)


@pytest.mark.parametrize("name", [n for n in PACKED if DATATYPES[n].bits <= 4])
@pytest.mark.parametrize("block", [1024, 4096])
def test_no_type_beats_lloyd_max_with_scales_that_carry_next_to_nothing(name: str, block: int) -> None:
    fmt = parse_format(f"{name}:b{block}:fp32")
    assert gaussian_mse(fmt) > LLOYD_MAX[fmt.bits] * (1 - 32 / block)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("block", [16, 64, 1024])
def test_nothing_beats_shannon(name: str, block: int) -> None:
    fmt = parse_format(f"{name}:b{block}")
    rate = fmt.bits + 16 / block * (2 if fmt.has_offset else 1)
    assert gaussian_mse(fmt) > shannon_mse(rate)


@pytest.mark.parametrize(
    "text", [f"{n}:b64" for n in PACKED] + ["nf4:b16", "int3:b32:bf16", "uint3:b16", "uint2:b1024"]
)
def test_error_is_what_sampling_gives(text: str) -> None:
    fmt = parse_format(text)
    block = int(fmt.block)
    rows, cols = 256, 4096
    weight = torch.randn(rows, cols, generator=torch.Generator().manual_seed(11))
    errors = (decode(encode(weight, fmt)) - weight).double().pow(2).reshape(-1, block).mean(dim=1)
    mean, standard_error = float(errors.mean()), float(errors.std()) / math.sqrt(len(errors))
    assert abs(mean - gaussian_mse(fmt)) < 4.5 * standard_error + 1e-4 * mean


@pytest.mark.parametrize(("text", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_sixteen_bits(text: str, dtype: torch.dtype) -> None:
    x = torch.randn(1 << 21, generator=torch.Generator().manual_seed(12), dtype=torch.float64)
    sampled = float((x.to(dtype).double() - x).pow(2).mean())
    assert gaussian_mse(parse_format(text)) == pytest.approx(sampled, rel=0.01)


def test_one_scale_for_a_block_of_two_is_worked_by_hand() -> None:
    # Two weights, entries {-1, 1}: the larger is exact but for the scale's rounding; the smaller, uniform
    # in sign and with |y| < |x|, becomes +-|x|. E (|x| - |y|)^2 / 2 with |x| > |y| is
    # (E (|x| - |y|)^2) / 2 = (2 - 2 * 2 / pi) / 2 = 1 - 2 / pi.
    fmt = parse_format("int1:b16:fp32")
    assert gaussian_mse(fmt, block=2) == pytest.approx(1 - 2 / math.pi, rel=2e-4)


def test_rows_and_tensors_have_a_stated_length() -> None:
    assert gaussian_mse(parse_format("nf4:row")) == gaussian_mse(parse_format("nf4:b4096"))
    assert gaussian_mse(parse_format("nf4:tensor")) > gaussian_mse(parse_format("nf4:row"))
    with pytest.raises(ValueError, match="at least 2"):
        gaussian_mse(parse_format("nf4:row"), block=1)


def test_listing() -> None:
    rows = {row["name"]: row for row in listing()}
    assert set(rows) == set(DATATYPES)
    nf4 = rows["nf4"]
    assert nf4["example"] == "nf4:b64"
    assert nf4["bits_per_weight"] == 4.25
    assert nf4["distance_bits"] == pytest.approx(distance_bits(nf4["gaussian_mse"], 4.25))
    assert rows["e2m1"]["alias"] == "float4"
    assert rows["uint4"]["bits_per_weight"] == 4.5
    for row in rows.values():
        assert row["distance_bits"] > 0
        assert row["shannon_mse"] == 2.0 ** (-2 * row["bits_per_weight"])
        assert row["source"]
    # The paper's order at 4 bits: normal float before float before int.
    assert nf4["gaussian_mse"] < rows["e2m1"]["gaussian_mse"] < rows["int4"]["gaussian_mse"]


def test_listing_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, time; start = time.perf_counter(); from kbit.formats import listing; listing();"
        "assert 'torch' not in sys.modules; print(time.perf_counter() - start)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 10  # under a second on an idle machine
