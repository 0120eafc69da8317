"""Two-level scales and offsets by block."""

import math

import pytest
import torch

from kbit.formats import decode, encode, gaussian_mse, parse_format
from kbit.formats.scales import store_offsets, store_scales

Q8 = parse_format("int4:b64:q8")


def test_each_group_of_256_has_a_step_of_its_own() -> None:
    wanted = torch.full((3, 100), 0.5, dtype=torch.float64)
    wanted.view(-1)[255], wanted.view(-1)[256] = 255.0, 2550.0
    stored = store_scales(wanted, Q8)
    assert stored.stored.dtype == torch.uint8
    assert stored.second.tolist() == [1.0, 10.0]
    assert stored.stored.view(-1)[[254, 255, 256]].tolist() == [1, 255, 255]  # 0.5 stays above zero
    assert stored.stored.view(-1)[257] == 1
    assert stored.values.view(-1)[[255, 256, 257]].tolist() == [255.0, 2550.0, 10.0]


def test_offsets_keep_their_sign_and_zero_scales_are_zero() -> None:
    stored = store_offsets(torch.tensor([[-127.0, 0.0, 3.4]]), Q8)
    assert stored.stored.tolist() == [[-127, 0, 3]]
    assert stored.values.tolist() == [[-127.0, 0.0, 3.0]]
    assert store_scales(torch.zeros(2, 3), Q8).values.count_nonzero() == 0


def test_centering_takes_the_mean_and_affine_both_ends() -> None:
    block = torch.tensor([[10.0, 11.0, 12.0, 15.0] * 4])
    centred = encode(block, parse_format("int4:b16:fp32:center"))
    assert centred.offsets.item() == 12.0
    assert centred.scales.item() == pytest.approx(3 / 7)
    affine = encode(block, parse_format("int3:b16:fp32:affine"))  # entries -3 to 3 over 10 to 15
    assert decode(affine).amin() == 10.0
    assert decode(affine).amax() == 15.0
    assert affine.scales.item() == pytest.approx(5 / 6)
    assert affine.offsets.item() == pytest.approx(12.5)


@pytest.mark.parametrize("text", ["nf4:b64:q8", "nf4:b64:center", "nf4:b32:q8:affine", "int3:b16:center"])
def test_gaussian_error_is_what_sampling_gives(text: str) -> None:
    fmt = parse_format(text)
    weight = torch.randn(256, 4096, generator=torch.Generator().manual_seed(11))
    errors = (decode(encode(weight, fmt)) - weight).double().pow(2).reshape(-1, int(fmt.block)).mean(dim=1)
    standard_error = float(errors.std()) / math.sqrt(len(errors))
    # Offsets of two levels are rounded more coarsely than the figure, to first order, says.
    slack = 1e-3 if "q8" in text or "center" in text else 1e-4
    assert abs(float(errors.mean()) - gaussian_mse(fmt)) < 4.5 * standard_error + slack * gaussian_mse(fmt)
