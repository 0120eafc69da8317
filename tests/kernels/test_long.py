"""Products of many rows, and the decoding below them, on every path this machine has."""

import threading

import numpy as np
import pytest
import torch

from kbit import _core
from kbit.formats import PackedTensor, decode, encode, parse_format
from kbit.formats.decoding import core_parts
from kbit.kernels import core, kernel_for, long, product

# Blocks that divide rows and that do not, every k, offsets, every scale type.
TEXTS = [
    "int1:b64",
    "nf2:b16",
    "int3:row",
    "nf4:b64:bf16",
    "nf4:b64:q8",
    "uint4:b32:q8",
    "uint4:b32",
    "int4:b80:fp32",
    "e2m2:flat48",
    "int5:b112",
    "uint6:flat64",
    "nf7:tensor",
    "uint7:b128",
    "int8:b64",
    "uint8:b48",
]
SHAPES = [(1, 1), (33, 83), (17, 64), (40, 1100), (290, 2150)]


def make(text: str, rows: int, cols: int) -> PackedTensor:
    generator = torch.Generator().manual_seed(rows * cols)
    return encode(torch.randn(rows, cols, generator=generator) * 0.1, parse_format(text))


def core_decode(packed: PackedTensor, dtype: torch.dtype, path: str, first: int, count: int) -> torch.Tensor:
    weight = _core.Weight(**core_parts(packed), path=path)
    out = torch.full((count + 1, packed.shape[1]), 7.0, dtype=dtype)  # one row more, to see it untouched
    weight.decode(first, count, out.data_ptr(), dtype == torch.bfloat16, 2)
    assert (out[count:] == 7).all()
    return out[:count]


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("text", TEXTS)
def test_decoding_is_exact(path: str, text: str) -> None:
    for rows, cols in SHAPES:
        packed = make(text, rows, cols)
        for dtype in (torch.float32, torch.bfloat16):
            for first, count in ((0, rows), (rows // 2, rows - rows // 2), (rows, 0)):
                expected = decode(packed, dtype, slice(first, first + count))
                assert torch.equal(core_decode(packed, dtype, path, first, count), expected), (
                    rows,
                    cols,
                    dtype,
                )


@pytest.mark.parametrize("scale", [2.0**-70, 2.0**-120, 2.0**-126])
def test_scales_near_the_smallest_number_decode_exactly(scale: float) -> None:
    packed = make("nf4:b64:fp32", 3, 130)
    packed.scales[1, 1] = scale
    for path in _core.paths():
        for dtype in (torch.float32, torch.bfloat16):
            got = core_decode(packed, dtype, path, 0, 3)
            assert torch.equal(got, decode(packed, dtype)), path
            assert (got[1, 64:128] != 0).any()


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("text", TEXTS)
def test_product_of_many_rows(
    path: str, dtype: torch.dtype, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBIT_KERNEL", path)
    monkeypatch.setattr(long, "PANEL_WEIGHTS", 9000)
    for (rows, cols), n in zip(SHAPES[1:], (17, 40, 64, 100), strict=True):
        packed = make(text, rows, cols)
        generator = torch.Generator().manual_seed(n)
        x = torch.randn(n, cols, generator=generator).to(dtype)
        bias = torch.randn(rows, generator=generator).to(dtype)
        kernel = kernel_for(packed.format, dtype=dtype, rows=n)
        assert kernel.name == (
            "core-panels" if dtype == torch.bfloat16 and _core.long_products(path) else "panels"
        )
        y = kernel.product(x, packed, bias)
        assert (y.shape, y.dtype) == ((n, rows), dtype)
        weight = decode(packed, torch.bfloat16 if dtype == torch.bfloat16 else torch.float32).double().numpy()
        exact = x.double().numpy() @ weight.T + bias.double().numpy()
        # Sums of float32 products, then one rounding to x's type; a dense layer rounds before the bias too.
        sums = np.abs(x.double().numpy()) @ np.abs(weight.T) + np.abs(bias.double().numpy())
        rounding = {torch.float32: 0.0, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}[dtype]
        assert (np.abs(y.double().numpy() - exact) <= 4e-6 * sums + rounding * np.abs(exact) + 1e-7).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_of_the_input(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long, "PANEL_WEIGHTS", 1000)
    packed = make("nf4:b64", 50, 83)
    x = torch.randn(20, 83, dtype=dtype, requires_grad=True)
    grad = torch.randn(20, 50, dtype=dtype)
    product(x, packed).backward(grad)
    expected = grad.double() @ decode(packed, dtype).double()
    assert x.grad is not None
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(x.grad.double(), expected, **tolerance)


def test_strides_and_empty_inputs() -> None:
    packed = make("nf4:b64", 33, 83)
    x = torch.randn(83, 40).bfloat16().t()
    torch.testing.assert_close(product(x, packed), product(x.contiguous(), packed))
    wide = torch.randn(40, 100).bfloat16()[:, 5:88]
    torch.testing.assert_close(product(wide, packed), product(wide.contiguous(), packed))
    for dtype in (torch.bfloat16, torch.float32):
        empty = encode(torch.empty(0, 83), parse_format("nf4:b64"))
        assert product(torch.randn(20, 83, dtype=dtype), empty).shape == (20, 0)
        narrow = encode(torch.empty(5, 0), parse_format("nf4:b64"))
        assert (product(torch.empty(20, 0, dtype=dtype), narrow) == 0).all()


def test_several_python_threads_at_once() -> None:
    packed = make("nf4:b64", 300, 2150)
    x = torch.randn(64, 2150).bfloat16()
    expected, wrong = product(x, packed), []

    def repeat() -> None:
        wrong.extend(i for i in range(10) if not torch.equal(product(x, packed), expected))

    threads = [threading.Thread(target=repeat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_workspace_is_bounded() -> None:
    packed = make("nf4:b64", 300, 2150)
    before = long.PANEL_WEIGHTS
    for count in (17, 500):
        long.panels_product(torch.randn(count, 2150), packed, None)
        assert long._held.memory.nbytes <= 4 * before
    assert _core.long_workspace_bytes() < 4 << 20


@pytest.mark.parametrize("path", _core.paths())
@pytest.mark.parametrize("text", [*TEXTS, "uint8:b64", "int8:b16"])
def test_eight_bit_product_of_many_rows_is_that_of_few(
    path: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding is by 64 activations and sums of a block are exact, however many rows there are."""
    monkeypatch.setenv("KBIT_KERNEL", path)
    for (rows, cols), n in zip(SHAPES, (18, 17, 40, 64, 100), strict=True):
        packed = make(text, rows, cols)
        generator = torch.Generator().manual_seed(n)
        x = torch.randn(n, cols, generator=generator)
        x[3] = 0
        bias = torch.randn(rows, generator=generator)
        many = core.core_product_a8(x, packed, bias)
        few = torch.cat([core.core_product_a8(x[i : i + 16], packed, bias) for i in range(0, n, 16)])
        sums = x.abs() @ decode(packed).abs().T + bias.abs()
        assert ((many - few).abs() <= 4e-6 * sums + 1e-7).all(), (rows, cols)
        halves = core.core_product_a8(x.bfloat16(), packed, bias)
        exact = core.core_product_a8(x.bfloat16().float(), packed, bias)
        assert ((halves.float() - exact).abs() <= 2.0**-8 * exact.abs() + 4e-6 * sums).all()


@pytest.mark.skipif("avx512" not in _core.paths(), reason="panels of 8-bit products want AVX-512 VNNI")
@pytest.mark.parametrize("text", ["int4:b64", "int8:b64", "uint8:b64", "nf8:b64"])
def test_every_width_has_panels_of_eight_bit_products(text: str) -> None:
    """Integers of eight bits are signed bytes, or are lowered to be."""
    assert core.prepared(make(text, 64, 128)).long_a8


@pytest.mark.parametrize("path", _core.paths())
def test_eight_bit_products_near_the_exact_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64: half a unit of each activation and weight is the most that is lost."""
    monkeypatch.setenv("KBIT_KERNEL", path)
    packed, x = make("int4:b64", 70, 640), torch.randn(50, 640)
    weight = decode(packed).double()
    y = core.core_product_a8(x, packed, None).double()
    quantum = x.view(50, 10, 64).abs().amax(-1).repeat_interleave(64, 1).double() / 127
    assert ((y - x.double() @ weight.T).abs() <= (quantum / 2) @ weight.abs().T + 1e-4).all()


@pytest.mark.parametrize("path", _core.paths())
def test_a_number_that_is_none_stays_in_its_row(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBIT_KERNEL", path)
    packed, x = make("nf4:b64", 70, 130), torch.randn(20, 130)
    x[7, 90] = torch.nan
    for given in (x, x.bfloat16()):
        y = core.core_product_a8(given, packed, None)
        assert y[7].isnan().all()
        assert not y[torch.arange(20) != 7].isnan().any()
