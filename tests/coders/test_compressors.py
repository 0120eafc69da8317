"""Compressors primed with a text."""

import dataclasses
import lzma
import sys

import pytest

from kbit.coders import baseline
from kbit.coders.compressors import COMPRESSORS, ROOM_BYTES, CompressorCoder
from kbit.corpus import Document
from kbit.errors import CoderError, MissingExtraError, UsageError

TRAINING = [
    Document(name="a", text="The cat sat on the mat. "),
    Document(name="b", text="A dog, 你好, ran. " * 30),
]
TEXT = "The dog sat on the mat, and the cat ran. "


@pytest.fixture(params=COMPRESSORS)
def coder(request):
    if request.param != "xz":
        pytest.importorskip({"zstd": "zstandard", "ppmd": "pyppmd"}[request.param], reason="needs the extra")
    return CompressorCoder.fit(request.param, TRAINING)


def bits(coder, *texts):
    return [c.bits for c in coder.code_lengths([Document(name=str(i), text=t) for i, t in enumerate(texts)])]


def test_it_is_what_the_text_adds(coder):
    whole = "".join(d.text for d in TRAINING).encode()

    def size(content: bytes) -> int:
        stream = COMPRESSORS[coder.name].make(len(whole) + (1 << 22))
        return stream.feed(content) + stream.finish()

    assert bits(coder, TEXT) == [8 * (size(whole + TEXT.encode()) - size(whole))]


def test_documents_know_nothing_of_each_other(coder):
    alone, other = bits(coder, TEXT)[0], "unlike anything, 0123456789" * 9
    assert bits(coder, other, TEXT, TEXT, other)[1:3] == [alone, alone]


def test_priming_helps(coder):
    known, unknown = bits(coder, TRAINING[1].text, TRAINING[1].text[::-1].swapcase())
    assert known < 0.5 * unknown
    assert known < 8 * 40


def test_a_child_and_a_reader_from_the_start_agree(coder, monkeypatch):
    texts = (TEXT, "x", "", "中文" * 20)
    expected = bits(coder, *texts)
    monkeypatch.delattr("os.fork")
    again = CompressorCoder.fit(coder.name, TRAINING)
    assert bits(again, *texts) == expected


def test_nothing_costs_nothing_and_one_byte_little(coder):
    nothing, one = bits(coder, "", "x")
    assert nothing == 0
    assert 0 <= one <= 8 * 8


def test_no_training_text():
    for documents in ([], [Document(name="a", text="")]):
        with pytest.raises(CoderError, match="no bytes"):
            CompressorCoder.fit("xz", documents)
    with pytest.raises(CoderError, match="--baseline-text"):
        baseline("xz")


def test_what_is_absent_is_named(monkeypatch):
    for name, module in (("zstd", "zstandard"), ("ppmd", "pyppmd")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=r"kbit\[compressors\]"):
            CompressorCoder.fit(name, TRAINING)
    with pytest.raises(UsageError, match="no compressor 'xs'"):
        CompressorCoder.fit("xs", TRAINING)


def test_the_window_is_as_wide_as_the_training_text(coder):
    import random

    passage = random.Random(0).randbytes(2000).hex()
    filler = random.Random(1).randbytes(100_000).hex()
    far = CompressorCoder.fit(coder.name, [Document(name="p", text=passage), Document(name="f", text=filler)])
    assert bits(far, passage)[0] < 0.2 * 8 * len(lzma.compress(passage.encode()))


def test_windows_grow_with_the_text():
    # What the window is made for is told to the compressor, training text and room for a document.
    asked = []
    row = COMPRESSORS["xz"]
    noting = dataclasses.replace(row, make=lambda window: asked.append(window) or row.make(window))
    CompressorCoder(noting, b"x" * 123_456, baseline_hash="")
    assert asked == [123_456 + ROOM_BYTES]
