"""Which k is best at equal stored bits, and how sure that is, in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass

from kbit.advise import Frontier, frontier
from kbit.advise import Point as CurvePoint
from kbit.report.points import Point, k_label
from kbit.report.words import bits_in_words, listed

MOST_CROSSOVERS = 2  # more than these are curves that run together, not findings


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """A sentence, what it rests on, and the comparison behind both (None where nothing could be compared)."""

    sentence: str
    support: str
    frontier: Frontier | None


def headline(points: Sequence[Point]) -> Headline:
    """Compare the curves of each k at equal stored bits (`kbit.advise.frontier`) and say what comes out.

    Args:
        points: measured on one text.
    """
    compared = comparison(points)
    if compared is None:
        return Headline(
            sentence="No model here has a gain over a baseline, so no k can be called best.",
            support="Measure with a baseline text: the headline baseline is fitted on it.",
            frontier=None,
        )
    total = compared.total
    count, wins = total["comparisons"], total["wins"]
    if not count:
        notes = [f.note for f in compared.families.values() if f.note]
        return Headline(
            sentence="The sizes measured here do not overlap enough to compare k at equal stored bits.",
            support=" ".join(notes),
            frontier=compared,
        )
    best, won = next(iter(wins.items()))
    sizes = [p.stored_bits for f in compared.families.values() for p in f.points]
    span = f"from {bits_in_words(min(sizes))} to {bits_in_words(max(sizes))}"
    own = [p for f in compared.families.values() for p in f.points if p.best == best]
    sure = sum(p.tie is False for p in own)
    unknown = any(p.tie is None for p in own)
    where = (
        f"at every size compared, {span}" if won == count else f"at {won} of {count} sizes compared, {span}"
    )
    sentence = f"At equal stored bits, {_bits(best)} a weight gain{'s' if best == '1' else ''} most {where}"
    sentence += _how_sure(sure, won, unknown=unknown)
    others = [f"{_bits(label)} at {n}" for label, n in wins.items() if label != best]
    support = []
    if others:
        support.append(f"At the other sizes: {listed(others)}.")
    for family in compared.families.values():
        if len(family.crossovers) <= MOST_CROSSOVERS:
            support += [
                f"{_bits(c.after).capitalize()} overtake {_bits(c.before)} at {bits_in_words(c.stored_bits)}."
                for c in family.crossovers
            ]
    support.append(
        "A lead is called clear where the 95% intervals of the best k and the next one do not overlap. Both "
        "were measured on the same documents, so this is cautious."
    )
    return Headline(sentence=sentence, support=" ".join(support), frontier=compared)


def comparison(points: Sequence[Point]) -> Frontier | None:
    """The frontier of points that have a gain, curves labelled by k; None if no point has one."""
    curve_points = [
        CurvePoint(
            family=p.family or "all models",
            model=p.key,
            label=k_label(p.k),
            stored_bits=float(p.stored_bits),
            value=p.gain,
            ci95=None if p.gain_low is None or p.gain_high is None else (p.gain_low, p.gain_high),
        )
        for p in points
        if p.gain is not None
    ]
    return frontier(curve_points) if curve_points else None


def _how_sure(sure: int, won: int, *, unknown: bool) -> str:
    """The end of the sentence."""
    if unknown:
        return "; how sure that is cannot be told, for some gains have no interval."
    if sure == won:
        return ", and its lead is clear at every one of them."
    if sure == 0:
        return ", but its lead over the next k is nowhere clear."
    return f"; its lead is clear at {sure} of them."


def _bits(label: str) -> str:
    return f"{label} bit{'' if label == '1' else 's'}"
