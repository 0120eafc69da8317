"""The reference product against a dense product with independently decoded weights."""

import os
import select
import signal
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

import kbit.kernels.reference as reference
from kbit import _core
from kbit.errors import FormatError
from kbit.formats import decode, encode, parse_format, unpack_codes
from kbit.kernels import available, kernel_for, product

TEXTS = [
    "int1:b64",
    "nf2:b16",
    "int3:row",
    "nf4:b64",
    "uint4:b32",
    "e2m2:flat48",
    "uint6:flat64",
    "nf7:tensor",
    "int8:b64",
]


def make(text: str, rows: int = 21, cols: int = 83):
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(rows, cols, generator=generator) * 0.1
    return encode(weight, parse_format(text)), generator


def by_hand(packed) -> np.ndarray:
    """float64 weights from codes, with nothing shared with `decode` but the unpacking."""
    rows, cols = packed.shape
    fmt = packed.format
    codes = unpack_codes(packed.codes, fmt.bits, cols).numpy()
    values = fmt.datatype.table().astype(np.float64)[codes]
    at = np.arange(rows * cols).reshape(rows, cols)
    if fmt.block == "tensor":
        index = at * 0
    elif fmt.flat:
        index = at // fmt.block
    else:
        block = cols if fmt.block == "row" else fmt.block
        index = at // cols * packed.scales.shape[1] + at % cols // block
    values *= packed.scales.double().numpy().ravel()[index]
    if packed.offsets is not None:
        values += packed.offsets.double().numpy().ravel()[index]
    return values


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("lead", [(), (1,), (4,), (2, 3), (0,)])
def test_product_in_float32(text: str, lead: tuple[int, ...]) -> None:
    packed, generator = make(text)
    x = torch.randn(*lead, 83, generator=generator)
    bias = torch.randn(21, generator=generator)
    y = product(x, packed, bias=bias)
    assert y.shape == (*lead, 21)
    assert y.dtype == torch.float32
    expected = x.double().numpy() @ by_hand(packed).T + bias.double().numpy()
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_product_in_sixteen_bits_is_the_dense_layers(text: str, dtype: torch.dtype) -> None:
    packed, generator = make(text)
    x = torch.randn(5, 83, generator=generator).to(dtype)
    y = product(x, packed)
    assert y.dtype == dtype
    expected = x.double().numpy() @ by_hand(packed).T
    scale = np.abs(x.double().numpy()) @ np.abs(by_hand(packed).T)
    # Weights and result are each rounded once to the input's type.
    assert (np.abs(y.double().numpy() - expected) <= 2.0**-8 * scale + 2.0**-8 * np.abs(expected)).all()


@pytest.mark.parametrize("text", TEXTS)
def test_slices_change_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, generator = make(text)
    x, bias = torch.randn(20, 83, generator=generator), torch.randn(21, generator=generator)
    whole = reference.reference_product(x, packed, bias)
    monkeypatch.setattr(reference, "SLICE_WEIGHTS", 250)
    torch.testing.assert_close(reference.reference_product(x, packed, bias), whole, rtol=1e-5, atol=1e-5)


def test_only_a_slice_is_ever_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, generator = make("nf4:b64", rows=64, cols=128)
    monkeypatch.setattr(reference, "SLICE_WEIGHTS", 1024)
    seen = []

    def watched(packed, dtype, rows):
        out = decode(packed, dtype, rows)
        seen.append(out.numel())
        return out

    monkeypatch.setattr(reference, "decode", watched)
    x = torch.randn(17, 128, generator=generator)
    reference.reference_product(x, packed, None)
    reference.reference_input_gradient(torch.ones(17, 64), packed)
    assert len(seen) == 16
    assert max(seen) <= 1024


@pytest.mark.parametrize("text", TEXTS)
def test_gradients_are_the_dense_layers(text: str) -> None:
    packed, generator = make(text)
    weight = torch.tensor(by_hand(packed), dtype=torch.float32)
    x = torch.randn(2, 3, 83, generator=generator)
    bias = torch.randn(21, generator=generator)
    ours = x.clone().requires_grad_(), bias.clone().requires_grad_()
    dense = x.clone().requires_grad_(), bias.clone().requires_grad_()
    grad = torch.randn(2, 3, 21, generator=generator)
    product(ours[0], packed, bias=ours[1]).backward(grad)
    functional.linear(dense[0], weight, dense[1]).backward(grad)
    for a, b in zip(ours, dense, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_gradient_check_in_float64() -> None:
    packed, generator = make("nf4:b64", rows=4, cols=20)
    x = torch.randn(2, 20, generator=generator, dtype=torch.float64, requires_grad=True)
    # The gradient is summed in float32, so finite differences agree to that.
    assert torch.autograd.gradcheck(lambda v: product(v, packed), (x,), atol=1e-5)


def test_autocast_multiplies_in_its_own_type() -> None:
    packed, generator = make("nf4:b64")
    x = torch.randn(3, 83, generator=generator, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = product(x, packed)
        expected = functional.linear(x, decode(packed))
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=2e-2, atol=2e-2)
    y.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


def test_strided_input() -> None:
    packed, generator = make("nf4:b64")
    x = torch.randn(83, 6, generator=generator).t()
    torch.testing.assert_close(product(x, packed), product(x.contiguous(), packed))


def test_what_does_not_fit_is_refused() -> None:
    packed, _ = make("nf4:b64")
    with pytest.raises(FormatError, match="last dimension must be 83"):
        product(torch.zeros(3, 82), packed)
    with pytest.raises(FormatError, match="last dimension must be 83"):
        product(torch.tensor(1.0), packed)
    with pytest.raises(FormatError, match="floating point"):
        product(torch.zeros(3, 83, dtype=torch.int64), packed)
    with pytest.raises(FormatError, match="bias must have 21"):
        product(torch.zeros(3, 83), packed, bias=torch.zeros(20))
    with pytest.raises(FormatError, match="on meta"):
        product(torch.zeros(3, 83, device="meta"), packed)


def test_every_format_has_a_kernel() -> None:
    assert kernel_for(parse_format("nf4:b64"), rows=16).name == "core"
    assert kernel_for(parse_format("nf4:b64"), rows=17, dtype=torch.float32).name == "panels"
    assert kernel_for(parse_format("nf4:b64"), rows=17, dtype=torch.float64).name == "reference"
    assert available()[-1] == "reference"
    for text in TEXTS:
        assert kernel_for(parse_format(text)).numerics == "a16"
    with pytest.raises(FormatError, match="no kernel"):
        kernel_for(parse_format("bf16"))


@pytest.mark.skipif(_core.path() == "portable", reason="this machine has no faster loop to miss")
def test_a_format_without_a_fast_kernel_says_so_once() -> None:
    packed, _ = make("nf4:flat64", cols=91)
    with pytest.warns(UserWarning, match="nf4:flat64 with 91 columns has no fast kernel"):
        product(torch.zeros(1, 91), packed)
    again, _ = make("nf4:flat64", cols=91)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        product(torch.zeros(1, 91), again)
        product(torch.zeros(1, 64), make("nf4:flat64", cols=64)[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_child_multiplies_as_its_parent() -> None:
    """The parent's threads are gone in it, and their locks may be held for ever."""
    packed = encode(torch.randn(512, 1024), parse_format("nf4:b64"))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        inputs = [torch.randn(n, 1024) for n in (1, 16)]
        wanted = [product(x, packed) for x in inputs]  # the parent's threads have worked
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            same = all(torch.equal(product(x, packed), y) for x, y in zip(inputs, wanted, strict=True))
            os.write(writing, b"1" if same else b"0")
            os._exit(0)
        os.close(writing)
        answered, _, _ = select.select([reading], [], [], 30)
        if not answered:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert answered, "the child hangs"
        assert os.read(reading, 1) == b"1"
        os.close(reading)
    finally:
        torch.set_num_threads(before)
