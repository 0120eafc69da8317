from dataclasses import replace

import pytest

from kbit.report.headline import headline
from kbit.report.points import Point


def points(gains: dict[float, list[float]], *, half: float | None = 0.01) -> list[Point]:
    """Curves of equal sizes, 1 to 4 Mbit: a k's gains in order of size."""
    return [
        Point(
            key=f"m{i} {k}",
            model=f"m{i}",
            family="m",
            format=f"f{k}",
            k=k,
            method=None,
            text="t",
            stored_bits=(i + 1) * 1_000_000,
            body_bits_per_weight=k,
            parameters=i + 1,
            bits_per_byte=3 - gain,
            gain=gain,
            gain_low=None if half is None else gain - half,
            gain_high=None if half is None else gain + half,
        )
        for k, curve in gains.items()
        for i, gain in enumerate(curve)
    ]


def test_one_k_wins_everywhere_and_clearly():
    found = headline(points({16: [0.1, 0.2, 0.3, 0.4], 4: [0.5, 0.6, 0.7, 0.8], 2: [0.0, 0.1, 0.2, 0.3]}))
    assert found.sentence == (
        "At equal stored bits, 4 bits a weight gain most at every size compared, from 1 Mbit to 4 Mbit, "
        "and its lead is clear at every one of them."
    )


def test_a_lead_within_the_intervals_is_not_called_clear():
    found = headline(points({16: [0.1] * 4, 4: [0.505] * 4, 3: [0.5] * 4}))
    assert "4 bits a weight gain most" in found.sentence
    assert found.sentence.endswith("but its lead over the next k is nowhere clear.")


def test_without_intervals_nothing_is_claimed():
    found = headline(points({16: [0.1] * 4, 4: [0.5] * 4, 3: [0.3] * 4}, half=None))
    assert "cannot be told" in found.sentence


def test_a_crossover_is_told_where_it_is():
    # straight lines in log size: 0.0 to 0.4 and 0.2 constant cross half-way between 1 and 4 Mbit, at 2 Mbit
    log = [0.0, 0.2, 0.2 * 1.58496, 0.4]
    found = headline(points({8: log, 4: [0.2] * 4, 2: [-1.0] * 4}, half=0.0001))
    assert "8 bits overtake 4 bits at 2 Mbit." in found.support
    wins = {label: int(n) for label, n in found.frontier.total["wins"].items()}
    assert sum(wins.values()) == 41
    assert f"at {max(wins.values())} of 41 sizes" in found.sentence


def test_two_curves_are_too_few_and_no_gain_is_said():
    assert "do not overlap enough" in headline(points({4: [0.1, 0.2], 8: [0.1, 0.2]})).sentence
    without = [replace(p, gain=None) for p in points({4: [0.1]})]
    assert "no k can be called best" in headline(without).sentence


@pytest.mark.parametrize("k", [1.0])
def test_one_bit_is_singular(k):
    found = headline(points({16: [0.1] * 4, k: [0.5] * 4, 2: [0.3] * 4}))
    assert "1 bit a weight gains most" in found.sentence
