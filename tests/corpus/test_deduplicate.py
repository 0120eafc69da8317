import random
import re

import numpy as np
import pytest

from kbit.corpus import Document
from kbit.corpus.contained import remove_contained, without_holders
from kbit.corpus.deduplicate import deduplicate
from kbit.corpus.shingles import document_signature as signature
from kbit.corpus.shingles import jaccard, shingle_hashes
from kbit.errors import CorpusError


def words(count: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return ["".join(chooser.choices("abcdefghij", k=6)) for _ in range(count)]


def document(name: str, text: list[str]) -> Document:
    return Document(name=name, text=" ".join(text))


def shingle_sets(text: str, length: int = 5) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+|[^\w\s]", text)
    return {tuple(found[i : i + length]) for i in range(max(len(found) - length + 1, 1))}


def test_similarity_is_that_of_sets_of_shingles():
    a = words(300, 1)
    b = a[:200] + words(60, 2)
    x, y = shingle_sets(" ".join(a)), shingle_sets(" ".join(b))
    expected = len(x & y) / len(x | y)
    assert jaccard(shingle_hashes(" ".join(a)), shingle_hashes(" ".join(b))) == pytest.approx(expected)


def test_signatures_agree_as_often_as_the_sets_overlap():
    found, pairs = [], 20
    for seed in range(pairs):
        a = words(400, 100 + seed)
        x, y = shingle_hashes(" ".join(a)), shingle_hashes(" ".join(a[:300]))
        found.append(np.mean(signature(x) == signature(y)) - jaccard(x, y))
    assert np.mean(found) == pytest.approx(0, abs=4 * (0.25 / 128 / pairs) ** 0.5)


def test_equal_and_nearly_equal_are_dropped_and_others_kept():
    a, c = words(400, 4), words(400, 5)
    changed = [*a[:200], "different", *a[201:]]  # 5 shingles of 396 change: Jaccard 391/401
    half = a[:300] + words(100, 6)
    found = deduplicate(
        [
            document("a", a),
            document("c", c),
            document("copy", a),
            document("near", changed),
            document("half", half),
        ]
    )
    assert [d.name for d in found.kept] == ["a", "c", "half"]
    assert [(d.name, d.kept) for d in found.dropped] == [("copy", "a"), ("near", "a")]
    assert found.dropped[0].similarity == 1
    assert found.dropped[1].similarity == pytest.approx(391 / 401)


def test_the_threshold_is_exact():
    a = words(104, 7)  # 100 shingles
    b = a[:100] + words(4, 8)  # shares 96 of 100 + 4
    at = 96 / 104
    pair = [document("a", a), document("b", b)]
    assert len(deduplicate(pair, threshold=at - 1e-9).kept) == 1
    assert len(deduplicate(pair, threshold=at + 1e-9).kept) == 2


def test_empty_and_short_texts():
    texts = ["", " \n", "one", "one two", "one"]
    found = deduplicate([Document(name=str(i), text=t) for i, t in enumerate(texts)])
    assert [d.name for d in found.kept] == ["0", "2", "3"]


def test_wrong_threshold():
    with pytest.raises(CorpusError, match="threshold=0"):
        deduplicate([], threshold=0)


def test_parts_of_larger_documents_are_dropped():
    a, b = words(300, 9), words(300, 10)
    found = remove_contained(
        [
            document("part", a[50:150]),
            document("whole", a),
            document("half in", a[:60] + words(40, 11)),
            document("other", b),
            document("part of part", a[60:90]),
        ]
    )
    assert [d.name for d in found.kept] == ["whole", "half in", "other"]
    assert {d.name: d.kept for d in found.dropped} == {"part": "whole", "part of part": "whole"}


def test_of_two_that_hold_each_other_one_stays():
    a = words(100, 12)
    found = remove_contained([document("x", a), document("y", a)])
    assert len(found.kept) == 1


def test_holders_of_a_text_are_left_out():
    a, b = words(300, 13), words(300, 14)
    held = [document("held", a[100:140])]
    kept = without_holders([document("holds", a), document("not", b)], held)
    assert [d.name for d in kept] == ["not"]
    assert without_holders([document("holds", a)], []) != []
