"""Encoding and decoding against a search of every entry in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit import _core
from kbit.errors import FormatError
from kbit.formats import DATATYPES, PackedTensor, decode, encode, parse_format, unpack_codes

PACKED = [name for name, row in DATATYPES.items() if row.is_packed and row.window is None]
NUMPY = {"fp16": np.float16, "fp32": np.float32}


def scales_of_weights(packed: PackedTensor, stored: torch.Tensor) -> np.ndarray:
    """The scale of each weight, from the definition of blocks."""
    rows, cols = packed.shape
    values, fmt = stored.double().numpy(), packed.format
    out = np.empty((rows, cols))
    for r in range(rows):
        for c in range(cols):
            if fmt.block == "tensor":
                out[r, c] = values[0]
            elif fmt.flat:
                out[r, c] = values[(r * cols + c) // fmt.block]
            elif fmt.block == "row":
                out[r, c] = values[r, 0]
            else:
                out[r, c] = values[r, c // fmt.block]
    return out


def numbers(packed: PackedTensor, part: str) -> torch.Tensor:
    """Scales or offsets as numbers, from the definition of two levels."""
    stored, second = getattr(packed, part), getattr(packed, f"second_{part}")
    if second is None:
        return stored
    flat = stored.reshape(-1).tolist()
    values = [code * float(second[i // 256]) for i, code in enumerate(flat)]
    return torch.tensor(values, dtype=torch.float64).reshape(stored.shape)


def blocks_of(weight: np.ndarray, fmt) -> list[np.ndarray]:
    rows, cols = weight.shape
    if fmt.block == "tensor":
        return [weight.ravel()]
    if fmt.flat:
        flat = weight.ravel()
        return [flat[i : i + fmt.block] for i in range(0, flat.size, fmt.block)]
    step = cols if fmt.block == "row" else fmt.block
    return [weight[r, c : c + step] for r in range(rows) for c in range(0, cols, step)]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("block", ["b32", "row", "tensor", "flat48"])
@pytest.mark.parametrize("scale", ["fp16", "bf16", "fp32"])
def test_codes_are_nearest_and_decode_is_the_definition(name: str, block: str, scale: str) -> None:
    check_nearest(f"{name}:{block}:{scale}")


@pytest.mark.parametrize("name", ["int1", "uint3", "nf4", "e2m2", "int8"])
@pytest.mark.parametrize("block", ["b16", "row", "tensor", "flat48"])
@pytest.mark.parametrize("rest", ["q8", "fp16:affine", "q8:center", "q8:affine"])
def test_the_same_with_two_levels_and_offsets(name: str, block: str, rest: str) -> None:
    check_nearest(f"{name}:{block}:{rest.partition(':')[0] if name == 'uint3' else rest}")


def check_nearest(text: str) -> None:
    fmt = parse_format(text)
    weight = torch.randn(5, 83, generator=torch.Generator().manual_seed(1)) * 0.02
    packed = encode(weight, fmt)
    table = packed.table_values().numpy().astype(np.float64)
    s = scales_of_weights(packed, numbers(packed, "scales"))
    o = scales_of_weights(packed, numbers(packed, "offsets")) if fmt.has_offset else np.zeros_like(s)
    codes = unpack_codes(packed.codes, fmt.bits, 83).numpy()
    exact = table[codes] * s + o
    got = decode(packed).double().numpy()
    # Each of the two steps is rounded to float32; an offset brings the size of the weights themselves.
    np.testing.assert_allclose(got, exact, rtol=2e-7, atol=1e-9 + 2e-7 * np.abs(o).max())
    distance = np.abs(weight.double().numpy()[..., None] - (table * s[..., None] + o[..., None]))
    chosen = np.abs(weight.double().numpy() - exact)
    assert (chosen <= distance.min(axis=-1) + 1e-7 * s + 2e-7 * np.abs(o)).all()


@pytest.mark.parametrize("scale", ["fp16", "fp32"])
def test_scales_are_the_range_of_the_block_rounded(scale: str) -> None:
    weight = torch.randn(4, 100, generator=torch.Generator().manual_seed(2))
    for text in (f"nf4:b64:{scale}", f"e2m1:flat32:{scale}", f"int5:row:{scale}", f"int3:tensor:{scale}"):
        fmt = parse_format(text)
        top = float(fmt.datatype.entries()[-1])
        wanted = [np.abs(b).max() / top for b in blocks_of(weight.double().numpy(), fmt)]
        got = encode(weight, fmt).scales.numpy().ravel()
        np.testing.assert_array_equal(got, np.array(wanted).astype(NUMPY[scale]))
    fmt = parse_format(f"uint4:b64:{scale}")
    packed = encode(weight, fmt)
    blocks = blocks_of(weight.double().numpy(), fmt)
    np.testing.assert_array_equal(
        packed.scales.numpy().ravel(), np.array([np.ptp(b) / 15 for b in blocks]).astype(NUMPY[scale])
    )
    np.testing.assert_array_equal(
        packed.offsets.numpy().ravel(), np.array([b.min() for b in blocks]).astype(NUMPY[scale])
    )


def test_known_answer() -> None:
    packed = encode(torch.tensor([[-6.0, 0.24, 0.26, 5.0, 3.1]]), parse_format("e2m1:row"))
    assert packed.scales.item() == 4.0  # 6 / 1.5
    assert decode(packed).tolist() == [[-6.0, 0.0, 0.5, 4.0, 3.0]]  # 5 is midway: the lower
    packed = encode(torch.tensor([[10.0, 13.0, 11.6]]), parse_format("uint2:row"))
    assert (packed.scales.item(), packed.offsets.item()) == (1.0, 10.0)
    assert decode(packed).tolist() == [[10.0, 13.0, 12.0]]


def test_ties_go_to_the_lower_entry() -> None:
    packed = encode(torch.tensor([[127.0, 0.5, -0.5, 1.5, -1.5, 0.0, -0.0]]), parse_format("int8:row:fp32"))
    assert decode(packed).tolist() == [[127.0, 0.0, -1.0, 1.0, -2.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", PACKED)
def test_zeros_stay_zeros(name: str) -> None:
    weight = torch.zeros(2, 70)
    weight[0, 64:] = -0.0
    packed = encode(weight, parse_format(f"{name}:b64"))
    assert (packed.scales == 0).all()
    assert (decode(packed) == 0).all()


def test_constant_blocks_are_kept_by_affine_types() -> None:
    packed = encode(torch.full((1, 64), 0.375), parse_format("uint2:b64"))
    assert (decode(packed) == 0.375).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("text", ["nf4:b64", "uint3:row", "int4:tensor", "e2m1:flat64"])
def test_what_is_not_a_number_is_refused(bad: float, text: str) -> None:
    weight = torch.zeros(3, 200)
    weight[2, 199] = bad
    with pytest.raises(FormatError, match=r"1 of 600 weights are NaN or infinite"):
        encode(weight, parse_format(text))


def test_a_scale_beyond_fp16_is_refused_and_the_remedy_works() -> None:
    weight = torch.tensor([[1e6, -3.0]])
    with pytest.raises(FormatError, match="bf16 scales, 'nf4:b64:bf16'"):
        encode(weight, parse_format("nf4:b64"))
    assert decode(encode(weight, parse_format("nf4:b64:bf16")))[0, 0] == pytest.approx(1e6, rel=4e-3)
    with pytest.raises(FormatError, match="an offset of 1e"):
        encode(torch.tensor([[1e6, 1e6 + 1]]), parse_format("uint4:b64"))


@pytest.mark.parametrize("size", [3e-5, 1e-6, 7e-8, 1e-9, 1e-30])
@pytest.mark.parametrize("text", ["int8:b64", "nf4:b64", "e4m3:b64", "uint4:b64"])
def test_tiny_weights_do_not_vanish_into_a_zero_scale(size: float, text: str) -> None:
    weight = torch.linspace(-1, 1, 64)[None] * size
    fmt = parse_format(text)
    packed = encode(weight, fmt)
    assert (packed.scales > 0).all()
    entries = fmt.datatype.entries().astype(np.float64)
    s = float(packed.scales)
    o = float(packed.offsets) if packed.offsets is not None else 0.0
    best = np.abs(weight.double().numpy()[..., None] - (entries * s + o)).min(axis=-1)
    got = np.abs(weight.double().numpy() - decode(packed).double().numpy())
    assert (got <= best + 1e-6 * s + 1e-12 * size).all()


def test_encoding_does_not_depend_on_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    import kbit.formats.encoding as encoding

    weight = torch.randn(37, 171, generator=torch.Generator().manual_seed(3))
    for text in ("nf4:b64", "int3:row", "uint5:flat64", "e2m1:tensor", "nf8:flat4096"):
        whole = encode(weight, parse_format(text))
        with monkeypatch.context() as patch:
            patch.setattr(encoding, "SLICE_WEIGHTS", 300)
            sliced = encode(weight, parse_format(text))
        for name, tensor in whole.parts().items():
            assert torch.equal(tensor, sliced.parts()[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_type_and_stride(dtype: torch.dtype) -> None:
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(4)).to(dtype)
    fmt = parse_format("nf4:b16")
    expected = encode(weight.float().t().contiguous(), fmt)
    got = encode(weight.t(), fmt)
    assert torch.equal(got.codes, expected.codes)
    assert torch.equal(got.scales, expected.scales)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_encoding_decoded_weights_changes_nothing(data) -> None:
    # int1 has no zero, uint rounds its offset, tables made from data change with the data: only tables
    # with both ends and a zero are fixed points.
    name = data.draw(
        st.sampled_from([n for n in PACKED if not n.startswith(("uint", "lloyd", "quantile", "dyn"))])
    )
    block = data.draw(st.sampled_from(["b16", "b64", "row", "tensor", "flat32"]))
    shape = (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 90)))
    seed = data.draw(st.integers(0, 2**31))
    fmt = parse_format(f"{name}:{block}:bf16")
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    once = decode(encode(weight, fmt))
    twice = decode(encode(once, fmt))
    assert torch.equal(once, twice)


def test_what_cannot_be_packed_is_refused() -> None:
    nf4 = parse_format("nf4:b64")
    with pytest.raises(FormatError, match="not packed"):
        encode(torch.zeros(2, 2), parse_format("bf16"))
    with pytest.raises(FormatError, match="matrices"):
        encode(torch.zeros(2, 2, 2), nf4)
    with pytest.raises(FormatError, match="floating point"):
        encode(torch.zeros(2, 2, dtype=torch.int8), nf4)
    with pytest.raises(FormatError, match="defines its own table"):
        encode(torch.zeros(2, 2), nf4, table=torch.zeros(16))


def test_parts_that_do_not_fit_are_refused() -> None:
    packed = encode(torch.randn(3, 70), parse_format("uint4:b64"))
    good = {"format": packed.format, "shape": packed.shape, **packed.parts()}
    PackedTensor(**good)
    for name, value in (
        ("codes", packed.codes[:, :-1]),
        ("codes", packed.codes.to(torch.int8)),
        ("scales", packed.scales.float()),
        ("scales", packed.scales[:2]),
        ("offsets", None),
        ("table", torch.zeros(16, dtype=torch.bfloat16)),
        ("shape", (3, 100)),
    ):
        with pytest.raises(FormatError, match="uint4:b64"):
            PackedTensor(**{**good, name: value})


def test_some_rows() -> None:
    for text in ("nf4:b64", "uint3:flat32", "int5:tensor", "e3m2:row"):
        packed = encode(torch.randn(9, 75, generator=torch.Generator().manual_seed(5)), parse_format(text))
        whole = decode(packed)
        for rows in (slice(2, 7), slice(None, None, 2), slice(8, 1, -3), slice(5, 5), slice(-4, None)):
            numbers = list(range(9))[rows]
            assert torch.equal(decode(packed, rows=rows), whole[numbers])
        picked = torch.tensor([8, 0, 0, 3])
        assert torch.equal(decode(packed, rows=picked), whole[picked])
        assert torch.equal(decode(packed, torch.bfloat16), whole.bfloat16())
        assert torch.equal(decode(packed, torch.float16), whole.half())
        with pytest.raises(FormatError, match="0 to 8"):
            decode(packed, rows=torch.tensor([9]))


@pytest.mark.parametrize("path", _core.paths())
def test_every_path_decodes_the_same(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kbit.formats.decoding import _decode_torch

    generator = torch.Generator().manual_seed(6)
    monkeypatch.setenv("KBIT_KERNEL", path)
    for name in ("int1", "nf2", "uint3", "e2m1", "nf5", "uint6", "e3m3", "nf8", "e7m0"):
        for block in ("b16", "b64", "row", "tensor", "flat48"):
            for shape in ((1, 1), (3, 67), (2, 1100), (40, 200)):
                weight = torch.randn(shape, generator=generator)
                for text in (f"{name}:{block}", f"{name}:{block}:q8"):
                    packed = encode(weight, parse_format(text))
                    expected = _decode_torch(packed, torch.arange(shape[0]))
                    assert torch.equal(decode(packed), expected)
                    assert torch.equal(decode(packed, torch.bfloat16), expected.bfloat16())


@pytest.mark.parametrize("path", _core.paths())
def test_every_path_rounds_to_bfloat16_like_torch(path: str) -> None:
    # One bit, table {x, y}, scale 1: decoding is then the conversion alone, of any float at all.
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**32, 400, dtype=np.uint32)
    patterns[:6] = [0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0x80000000, 0x7FC12345]
    for pattern in patterns.reshape(-1, 2):
        table = pattern.view(np.float32)
        out = torch.empty(1, 33, dtype=torch.bfloat16)
        codes = np.zeros((1, 8), dtype=np.uint8)
        codes[0, 0] = 0b10
        _core.decode(
            codes, bits=1, table=table, scales=np.ones(1, np.float32), scale_type="fp32", scales_a_row=1,
            block=64, flat=False, out=out.view(torch.uint16), path=path,
        )  # fmt: skip
        expected = torch.tensor(table).bfloat16()
        got = out[0, :2]
        assert torch.equal(torch.isnan(got), torch.isnan(expected))
        keep = ~torch.isnan(expected)
        assert torch.equal(got[keep].view(torch.int16), expected[keep].view(torch.int16))
