import pytest

from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.answers import ANSWER_F1, EXACT, answer_f1, exact_match, normalised


@pytest.mark.parametrize(
    ("prediction", "truth", "exact", "f1"),
    [
        ("The Denver Broncos!", "denver broncos", 1, 1),  # evaluate-v1.1.py: case, signs, articles
        ("Broncos of Denver", "Denver Broncos", 0, 0.8),
        ("a 1990s film", "1990's film", 1, 1),
        ("", "x", 0, 0),
        ("x x", "x", 0, 2 / 3),  # a word counts as often as the other side has it
    ],
)
def test_squad_s_rules(prediction, truth, exact, f1):
    assert exact_match(prediction, truth) == exact
    assert answer_f1(prediction, truth) == pytest.approx(f1)


def test_chinese_goes_by_characters():
    assert normalised("“北京”，中国。", "zh") == "北京中国"
    assert exact_match("《北京》。", "北京", "zh") == 1
    assert exact_match("308 分", "308分", "zh") == 1
    assert answer_f1("在北京", "北京市", "zh") == pytest.approx(2 / 3)
    assert answer_f1("在北京", "北京市", "en") == 0
    assert exact_match("a城", "城", "zh") == 0  # no articles there


def test_the_best_of_several_answers_counts():
    item = Item(name="1", source="x:1", prompt="", references=("Paris", "the city of light"))
    for metric in (EXACT, ANSWER_F1):
        assert metric.columns([item], [Answer(text="city of light.")], "en").tolist() == [[100.0, 1.0]]
