import sys

import pytest

from kbit.corpus import Document
from kbit.corpus.clean import Cleaning, CleanTally, Filters, clean, repeated_line_share, why_removed
from kbit.errors import MissingExtraError, UsageError


def cleaned(text, **steps):
    tally = CleanTally()
    return clean(text, Cleaning(**steps), tally), tally


def test_nothing_is_done_unasked():
    text = "â€œcafe\u0301\x07\r\nl\nl\n\ufeff"
    assert cleaned(text) == (text, CleanTally())


def test_wrongly_decoded_text_is_repaired_and_nothing_else():
    fixed, tally = cleaned("naÃ¯ve “quotes” &amp; ｆｕｌｌ，ﬁ\u001b[1m", fix_text=True)
    assert fixed == "naïve “quotes” &amp; ｆｕｌｌ，ﬁ\u001b[1m"
    assert tally.documents == {"fix_text": 1}
    assert cleaned("他說：“好。”", fix_text=True)[0] == "他說：“好。”"


def test_steps_are_counted_one_by_one():
    text, tally = cleaned(
        "e\u0301\x00\x9f\tx\r\n\n\nsame\nsame\nsame\nother\nsame\n",
        normal_form="NFC", controls=True, repeated_lines=True,
    )  # fmt: skip
    assert text == "é\tx\r\n\n\nsame\nother\nsame\n"
    assert tally.characters == {"normal_form": 1, "controls": 2, "repeated_lines": 10}
    assert set(tally.documents.values()) == {1}


@pytest.mark.parametrize(
    ("text", "filters", "reason"),
    [
        (" \n", Filters(least_bytes=0), "empty"),
        ("", Filters(), "empty"),
        ("ab", Filters(least_bytes=3), "too short"),
        ("中", Filters(least_bytes=3), None),
        ("中文", Filters(most_bytes=5), "too long"),
        ("中文", Filters(most_bytes=6), None),
        ("a\na\na\nb", Filters(most_repeated_lines=0.49), "repeated lines"),
        ("a\na\na\nb", Filters(most_repeated_lines=0.5), None),
    ],
)
def test_filters(text, filters, reason):
    found = why_removed(Document(name="d", text=text), filters)
    assert (found[0] if found else None) == reason


def test_languages():
    pytest.importorskip("py3langid", reason="needs py3langid")
    filters = Filters(languages=("en", "fr"))
    for text, reason in (
        ("It was the best of times, it was the worst of times.", None),
        ("Longtemps, je me suis couché de bonne heure.", None),
        ("话说天下大势，分久必合，合久必分。", ("language", "zh")),
    ):
        assert why_removed(Document(name="d", text=text), filters) == reason


def test_the_extra_for_languages_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(MissingExtraError, match=r"kbit\[language\]"):
        why_removed(Document(name="d", text="x"), Filters(languages=("en",)))


def test_share_of_repeated_lines():
    assert repeated_line_share("") == 0
    assert repeated_line_share("a\n a \nb\n\n") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Cleaning(normal_form="NFX"),
        lambda: Filters(least_bytes=5, most_bytes=4),
        lambda: Filters(most_repeated_lines=2),
    ],
)
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        wrong()
