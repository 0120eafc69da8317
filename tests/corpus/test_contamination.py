import random

from kbit.corpus import Document
from kbit.corpus.contamination import contamination


def words(count: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return ["".join(chooser.choices("abcdefghij", k=6)) for _ in range(count)]


def document(name, some):
    return Document(name=name, text=" ".join(some))


def runs(some: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(some[i : i + length]) for i in range(len(some) - length + 1)}


def test_shares_are_those_of_sets_of_runs():
    tests = [words(100, seed) for seed in range(3)]
    # The first is held whole but for a word, the second a little, the third not at all.
    training = [words(50, 9) + tests[0][:60] + ["changed"] + tests[0][61:], tests[1][20:40] + words(30, 8)]
    found = contamination(
        [document(str(i), t) for i, t in enumerate(tests)],
        [document(f"train {i}", t) for i, t in enumerate(training)],
    )
    held = set().union(*(runs(t, 13) for t in training))
    for item, test in zip(found, tests, strict=True):
        own = runs(test, 13)
        assert (item.found, item.runs) == (len(own & held), len(own))
        assert item.share == len(own & held) / len(own)
    assert [item.source for item in found] == ["train 0", "train 1", None]


def test_chinese_runs_are_characters():
    text = "话说天下大势分久必合合久必分周末七国分争并入于秦"
    [item] = contamination(
        [Document(name="t", text=text)], [Document(name="x", text="。" + text[5:20] + "呜呼")]
    )
    assert (item.runs, item.found) == (len(text) - 12, 3)


def test_nothing_to_look_for_and_nowhere_to_look():
    assert contamination([], [document("x", words(30, 1))]) == []
    [item] = contamination([Document(name="t", text="")], [document("x", words(30, 1))])
    assert (item.found, item.source) == (0, None)
    [item] = contamination([document("t", words(30, 1))], [])
    assert item.found == 0
