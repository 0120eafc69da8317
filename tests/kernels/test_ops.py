"""The operators of compiled graphs: their declarations, and whole layers seen through by torch.compile."""

import pytest
import torch
from torch import nn

from kbit.formats import encode, parse_format
from kbit.formats.packed import PACKED_PARTS
from kbit.kernels import product, product_op, unpack_rows, unpack_rows_op
from kbit.models import KbitEmbedding, KbitLinear
from kbit.models.embedding import KbitTiedHead
from kbit.models.record import LayerRecord, Method

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
TEXTS = ["nf4:b64", "uint3:b32", "int5:row:fp32", "nf4:b64:q8"]


@pytest.fixture(autouse=True)
def _fresh_graphs() -> None:
    """The number of graphs that torch.compile keeps for one function is limited."""
    torch._dynamo.reset()


def weight(text: str, rows: int = 33, cols: int = 83):
    generator = torch.Generator().manual_seed(3)
    packed = encode(torch.randn(rows, cols, generator=generator), parse_format(text))
    return packed, [getattr(packed, part) for part in PACKED_PARTS], generator


def record(text: str, role: str, rows: int = 33, cols: int = 83) -> LayerRecord:
    return LayerRecord(
        name="layer",
        shape=(rows, cols),
        role=role,
        format=parse_format(text),
        method=Method(name="nearest", version=1),
    )


@pytest.mark.parametrize("text", TEXTS)
def test_declarations_hold(text: str) -> None:
    packed, parts, generator = weight(text)
    x = torch.randn(2, 5, 83, generator=generator, requires_grad=True)
    bias = torch.randn(33, generator=generator, requires_grad=True)
    arguments = (x, bias, *parts, str(packed.format), 33, 83, "a16")
    torch.library.opcheck(product_op, arguments, test_utils=CHECKS)
    torch.testing.assert_close(product_op(*arguments), product(x, packed, bias=bias))
    numbers = torch.tensor([[3, 0, 3], [32, 1, 0]])
    arguments = (numbers, *parts, str(packed.format), 33, 83, torch.bfloat16)
    torch.library.opcheck(unpack_rows_op, arguments, test_utils=CHECKS)
    expected = unpack_rows(packed, torch.bfloat16, numbers.reshape(-1)).view(2, 3, 83)
    assert torch.equal(unpack_rows_op(*arguments), expected)


@pytest.mark.parametrize("text", TEXTS)
def test_a_compiled_layer_is_the_layer(text: str) -> None:
    packed, _, generator = weight(text)
    layer = KbitLinear(record(text, "linear"), bias=True)
    layer.fill(packed)
    layer.bias.data.normal_(generator=generator)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for rows in (1, 20):
        x = torch.randn(rows, 83, generator=generator)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        got, expected = compiled(ours), layer(theirs)
        assert torch.equal(got, expected)
        got.square().sum().backward()
        bias_gradient = layer.bias.grad.clone()
        layer.bias.grad = None
        expected.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
        torch.testing.assert_close(bias_gradient, layer.bias.grad)
        layer.bias.grad = None


def test_a_refilled_layer_computes_with_its_new_codes_when_compiled() -> None:
    first, _, generator = weight("nf4:b64")
    second = encode(torch.randn(33, 83, generator=generator), first.format)
    layer = KbitLinear(record("nf4:b64", "linear"), bias=False).fill(first)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 83, generator=generator)
    with torch.no_grad():
        assert torch.equal(compiled(x), product(x, first))
        layer.fill(second)
        assert torch.equal(compiled(x), product(x, second))


def test_embedding_and_tied_head_in_one_graph() -> None:
    packed, _, _ = weight("nf4:b64")
    embedding = KbitEmbedding(record("nf4:b64", "embedding"), dtype=torch.bfloat16).fill(packed)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = embedding, KbitTiedHead(embedding)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embedding(ids))

    model = Tied()
    ids = torch.tensor([[1, 2, 32, 1]])
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(ids), model(ids))
