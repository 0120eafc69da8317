import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.errors import FormatError
from kbit.formats import ALIASES, DATATYPES, WeightFormat, parse_format

PACKED = [row for row in DATATYPES.values() if row.is_packed]


@st.composite
def formats(draw) -> WeightFormat:
    block = draw(st.one_of(st.sampled_from(["row", "tensor"]), st.integers(1, 256).map(lambda n: 16 * n)))
    datatype = draw(st.sampled_from(PACKED))
    offsets = ["none"] if datatype.scaling in ("range", "rms") else ["none", "center", "affine"]
    tables = ["tensor", "kind", "model"] if datatype.stored_table else ["tensor"]
    return WeightFormat(
        datatype=datatype,
        block=block,
        flat=draw(st.booleans()) and isinstance(block, int),
        scale=draw(st.sampled_from(["fp16", "bf16", "fp32", "q8"])),
        offset=draw(st.sampled_from(offsets)),
        table=draw(st.sampled_from(tables)),
    )


@given(formats())
def test_spelling_and_parsing_are_inverse(fmt: WeightFormat) -> None:
    assert parse_format(str(fmt)) == fmt
    assert parse_format(f"  {str(fmt).upper()} ") == fmt
    assert hash(parse_format(str(fmt))) == hash(fmt)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nf4", "nf4:b64"),
        ("nf4:b64:fp16", "nf4:b64"),
        ("int3:row:fp32", "int3:row:fp32"),
        ("int3:fp32:row", "int3:row:fp32"),
        ("float4:flat1024", "e2m1:flat1024"),
        ("uint8:tensor:bf16", "uint8:tensor:bf16"),
        ("bf16", "bf16"),
        ("nf4:b32:q8", "nf4:b32:q8"),
        ("nf4:affine:q8:b32", "nf4:b32:q8:affine"),
        ("int4:center:tensor", "int4:tensor:center"),
    ],
)
def test_canonical(text: str, canonical: str) -> None:
    assert str(parse_format(text)) == canonical
    assert str(parse_format(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nf44", "did you mean 'nf4'"),
        ("nf1", "int1"),
        ("int9", "k = 1 to 8"),
        ("fn4:b64", "did you mean 'nf4'"),
        ("nf4:64", "did you mean 'b64'"),
        ("nf4:b8", "16 to 4096"),
        ("nf4:b65", "multiple of 16"),
        ("nf4:b8192", "16 to 4096"),
        ("nf4:flat", "did you mean 'flat64'"),
        ("nf4:b64:fp15", "did you mean 'fp16'"),
        ("nf4:b64:q7", "fp32, q8, center"),
        ("nf4:b64:centre", "did you mean 'center'"),
        ("nf4:center:affine", "a second time"),
        ("uint4:b64:affine", "has a zero point by itself"),
        ("nf4:table-model", "part of its definition"),
        ("nf4:b64:b32", "second time"),
        ("nf4:fp16:fp32", "second time"),
        ("bf16:b64", "write just 'bf16'"),
        ("e4m4", "did you mean"),
        ("", "allowed"),
        ("xyz", "nf2-nf8"),
        ("nf4:b\u0664\u0668", "neither"),
        ("nf4:b" + "9" * 40, "neither"),
    ],
)
def test_wrong_formats_say_what_to_do(text: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        parse_format(text)


def test_a_format_is_a_string() -> None:
    with pytest.raises(FormatError, match="is a string"):
        parse_format(4)  # type: ignore[arg-type]


@given(st.text(max_size=20))
def test_any_text_is_a_format_or_a_format_error(text: str) -> None:
    try:
        fmt = parse_format(text)
    except FormatError as error:
        assert str(error)  # noqa: PT017 - any text may be right or wrong
    else:
        assert parse_format(str(fmt)) == fmt


@pytest.mark.parametrize(
    "changes", [{"block": 17}, {"block": "col"}, {"scale": "fp8"}, {"block": "row", "flat": True}]
)
def test_wrong_fields_are_refused(changes: dict) -> None:
    with pytest.raises(FormatError):
        WeightFormat(datatype=DATATYPES["nf4"], **changes)


def test_formats_travel_between_processes() -> None:
    for text in [*DATATYPES, *ALIASES]:
        fmt = parse_format(text)
        assert pickle.loads(pickle.dumps(fmt)) == fmt
