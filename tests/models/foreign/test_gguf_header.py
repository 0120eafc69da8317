"""Damaged and foreign files are refused with a clear error; nothing else is ever raised."""

import random
import struct

import pytest

from kbit.errors import ModelError
from kbit.models import load, locate, stored_bits
from kbit.models.foreign.gguf_header import is_gguf, read_gguf


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_bytes(
    *, version=3, tensors=1, type_=0, dims=(4, 2), offset=0, data=32, alignment=None, extra=b""
) -> bytes:
    """A file by hand: one tensor `w`, and a little metadata of every kind."""
    pairs = [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("a.list") + struct.pack("<IIQ", 9, 4, 3) + struct.pack("<3I", 1, 2, 3),
        string("a.words") + struct.pack("<IIQ", 9, 8, 2) + string("né") + string(""),
        string("a.flag") + struct.pack("<IB", 7, 1),
        string("a.number") + struct.pack("<Id", 12, 0.5),
    ]
    if alignment is not None:
        pairs.append(string("general.alignment") + struct.pack("<II", 4, alignment))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs)) + b"".join(pairs)
    for _ in range(tensors):
        head += string("w") + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", type_, offset)
    head += extra
    step = alignment if alignment and alignment > 0 and not alignment & (alignment - 1) else 32
    return head + b"\0" * (-len(head) % step) + b"\1" * data


def written(path, content: bytes):
    path.write_bytes(content)
    return path


def test_a_header_is_read_as_it_was_written(tmp_path):
    file = read_gguf(written(tmp_path / "m.gguf", gguf_bytes()))
    assert file.architecture == "llama"
    assert file.metadata["a.list"] == [1, 2, 3]
    assert file.metadata["a.words"] == ["né", ""]
    assert file.metadata["a.flag"] is True
    assert file.metadata["a.number"] == 0.5
    tensor = file.tensors["w"]
    assert (tensor.shape, tensor.size_bytes, tensor.type.name) == ((2, 4), 32, "F32")
    assert tensor.offset_bytes % 32 == 0


def test_a_file_without_the_suffix_is_known_by_its_first_bytes(tmp_path):
    assert is_gguf(written(tmp_path / "blob", gguf_bytes()))
    assert locate(tmp_path / "blob") == tmp_path / "blob"
    assert not is_gguf(written(tmp_path / "notes.txt", b"text"))
    assert not is_gguf(tmp_path)
    with pytest.raises(ModelError, match="is a file, and no GGUF file"):
        locate(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with 'GGUF'"),
        (b"PK\3\4" + b"\0" * 60, "does not begin with 'GGUF'"),
        (gguf_bytes(version=1), "GGUF version 1"),
        (gguf_bytes(version=3 << 24), "little-endian"),
        (gguf_bytes(type_=99), "ggml type 99"),
        (gguf_bytes(type_=4), "ggml type 4"),  # taken out of llama.cpp
        (gguf_bytes(type_=12, dims=(100, 2)), "no whole blocks of 256"),
        (gguf_bytes(dims=(1 << 60, 1 << 60)), "cut short"),
        (gguf_bytes(dims=(1,) * 5), "5 dimensions"),
        (gguf_bytes(offset=1 << 62), "cut short"),
        (gguf_bytes(data=31), "cut short"),
        (gguf_bytes(alignment=0), "no power of two"),
        (gguf_bytes(alignment=48), "no power of two"),
        (gguf_bytes(tensors=2), "'w' twice"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62), "ends within its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<I", 77), "unknown type 77"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 8, 1 << 61),
            "ends within its header",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQIQ", 9, 9, 1, 9, 1),
            "unknown type 9",
        ),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, message):
    with pytest.raises(ModelError, match=message):
        read_gguf(written(tmp_path / "m.gguf", content))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = gguf_bytes()
    for end in range(len(content)):
        with pytest.raises(ModelError):
            read_gguf(written(tmp_path / f"{end}.gguf", content[:end]))


def test_a_file_with_any_byte_changed_gives_a_header_or_a_clear_error(tmp_path):
    content, chance = gguf_bytes(), random.Random(0)
    refused = 0
    for i in range(600):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        file = written(tmp_path / f"{i}.gguf", bytes(changed))
        try:
            read_gguf(file)
            stored_bits(file)
        except ModelError:
            refused += 1
    assert refused > 100


def test_an_architecture_that_is_not_known_is_named(tmp_path):
    content = gguf_bytes().replace(string("llama"), string("xlstm"))
    with pytest.raises(ModelError, match=r"architecture 'xlstm'. kbit reads llama, qwen2"):
        load(written(tmp_path / "m.gguf", content))
