import hashlib

import pytest

from kbit.corpus import Document
from kbit.corpus.split import position, split_by_hash
from kbit.errors import CorpusError


def documents(count: int) -> list[Document]:
    return [Document(name=f"doc {i}", text=str(i)) for i in range(count)]


def test_position_is_the_hash():
    first = int(hashlib.sha256(b"json").hexdigest()[:16], 16)
    assert position("json") == pytest.approx(first / 2**64, abs=2**-53)
    assert all(0 <= position(str(i)) < 1 for i in range(1000))


def test_adding_documents_moves_none():
    few = {d.name for d in split_by_hash(documents(500), held_out_share=0.1).held_out}
    many = {d.name for d in split_by_hash(documents(1000), held_out_share=0.1).held_out}
    assert few == {name for name in many if int(name.split()[1]) < 500}


def test_a_larger_share_holds_out_all_of_a_smaller_one():
    small = split_by_hash(documents(2000), held_out_share=0.1)
    large = split_by_hash(documents(2000), held_out_share=0.2)
    assert {d.name for d in small.held_out} <= {d.name for d in large.held_out}
    assert len(small.held_out) == pytest.approx(200, abs=4 * 200**0.5)


def test_documents_of_one_key_stay_together():
    split = split_by_hash(documents(400), held_out_share=0.3, key=lambda d: d.name[-1])
    assert not {d.name[-1] for d in split.training} & {d.name[-1] for d in split.held_out}


def test_share_out_of_range():
    with pytest.raises(CorpusError, match="held_out_share is 2"):
        split_by_hash([], held_out_share=2)
