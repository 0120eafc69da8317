"""Layers whose input is taken apart, rotated and reordered before it meets the codes."""

import pytest
import torch

from kbit.errors import FormatError
from kbit.formats import encode, parse_format
from kbit.formats.rotation import random_signs, unpack_signs
from kbit.models.inputs import InputTransform, keep_columns, read_transform
from kbit.models.linear import KbitLinear
from kbit.models.record import LayerRecord, Method, Rotation
from kbit.models.stored_parts import part_specs

ROWS, COLUMNS = 9, 300
COMBINATIONS = [
    {"rotated": True, "kept": 0, "ordered": False},
    {"rotated": False, "kept": 7, "ordered": False},
    {"rotated": False, "kept": 0, "ordered": True},
    {"rotated": True, "kept": 7, "ordered": True},
]


def make(*, rotated: bool, kept: int, ordered: bool, fmt: str = "int8:b32:fp32"):
    """A random weight, its transform, record, stored parts, and the layer that holds them."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(ROWS, COLUMNS, generator=generator).bfloat16()
    numbers = torch.randperm(COLUMNS, generator=generator)[:kept]
    made = keep_columns(weight, numbers, dtype=torch.bfloat16) if kept else InputTransform(columns=COLUMNS)
    coded = COLUMNS - kept
    bits = random_signs(coded, seed=1) if rotated else None
    made = InputTransform(
        columns=COLUMNS,
        kept=made.kept,
        kept_weights=made.kept_weights,
        coded=made.coded,
        signs=unpack_signs(bits, coded) if rotated else None,
        order=torch.randperm(coded, generator=generator) if ordered else None,
    )
    record = LayerRecord(
        name="a",
        shape=(ROWS, COLUMNS),
        role="linear",
        format=parse_format(fmt),
        method=Method(name="nearest", version=1),
        rotation=Rotation() if rotated else None,
        kept_inputs=kept,
        activation_order=ordered,
    )
    packed = encode(made.apply(weight.float()), record.format)
    parts = made.parts(record, bits)
    layer = KbitLinear(record, bias=True, dtype=torch.float32).fill(packed, parts)
    torch.nn.init.normal_(layer.bias)
    return weight, made, record, parts, layer


@pytest.mark.parametrize("how", COMBINATIONS)
def test_the_layer_computes_the_product_with_the_weight(how) -> None:
    weight, _, _, _, layer = make(**how)
    x = torch.randn(2, 5, COLUMNS, requires_grad=True)
    exact = x @ weight.float().T + layer.bias
    # 8 bits by block of 32: a relative error of about half a percent.
    assert float((layer(x).detach() - exact.detach()).norm() / exact.norm()) < 0.008
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias, atol=2e-4, rtol=2e-4)
    layer(x).square().sum().backward()
    wanted = torch.autograd.grad((x @ layer.weight.T + layer.bias).square().sum(), x)[0]
    torch.testing.assert_close(x.grad, wanted, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("how", COMBINATIONS)
def test_stored_parts_come_back_and_take_what_the_record_says(how) -> None:
    weight, made, record, parts, layer = make(**how)
    specs = part_specs(record)
    assert set(layer.parts()) == set(specs)
    for name, tensor in layer.parts().items():
        assert (tuple(tensor.shape), tensor.dtype) == (specs[name].shape, specs[name].dtype)
    back = read_transform(record, parts)
    x = torch.randn(3, COLUMNS)
    assert torch.equal(back.apply(x), made.apply(x))
    if how["kept"]:
        kept = made.kept
        assert torch.equal(layer.dense(torch.bfloat16)[:, kept], weight[:, kept])  # not a bit lost
        # 7 numbers of two bytes, since there are more than 256 columns, and 16-bit weights
        assert specs["kept_columns"].size_bytes == 14
        assert specs["kept_weights"].size_bytes == 2 * 7 * ROWS
        assert specs["codes"].shape == (ROWS, 320)  # 293 columns, padded to 32
    if how["rotated"]:
        assert specs["signs"].size_bytes == -(-(COLUMNS - how["kept"]) // 8)
    if how["ordered"]:
        assert specs["order"].size_bytes == 2 * (COLUMNS - how["kept"])


def test_an_order_is_inverted_where_the_weight_is_decoded() -> None:
    _, made, _, _, _ = make(rotated=True, kept=7, ordered=True)
    weight = torch.randn(ROWS, COLUMNS, dtype=torch.float64)
    kept = InputTransform(
        columns=COLUMNS, kept=made.kept, kept_weights=weight[:, made.kept], coded=made.coded,
        signs=made.signs, order=made.order,
    )  # fmt: skip
    torch.testing.assert_close(kept.dense_weight(kept.apply(weight)), weight, atol=1e-12, rtol=0)


def test_columns_named_twice_or_beyond_are_refused() -> None:
    _, _, record, parts, _ = make(rotated=True, kept=7, ordered=True)
    for part, value, says in (
        ("order", torch.zeros_like(parts["order"]), "order names a column twice"),
        ("kept_columns", torch.zeros_like(parts["kept_columns"]), "kept_columns names a column twice"),
        ("kept_columns", torch.full((7,), 300).to(torch.uint16), "beyond 300"),
    ):
        with pytest.raises(FormatError, match=says):
            read_transform(record, parts | {part: value})
