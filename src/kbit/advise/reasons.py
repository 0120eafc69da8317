"""Advice in words: why this choice, and what it takes for granted."""

from collections.abc import Sequence
from dataclasses import dataclass

from kbit.advise.choose import Candidate
from kbit.advise.memory import GIB, Memory
from kbit.advise.speed import Speed


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """A candidate that fits, with its memory and, where a bandwidth is known, its speed."""

    candidate: Candidate
    memory: Memory
    speed: Speed | None


def reasons_for(fitting: Sequence[Fitting], found: Sequence[Candidate]) -> list[str]:
    """Why the first is first.

    Args:
        fitting: what fits, best first.
        found: all there was to choose from.
    """
    if not found:
        return ["There was nothing to choose from."]
    if not fitting:
        was = "was measured" if any(c.basis == "measured" for c in found) else "was asked about"
        return [
            f"Nothing that {was} fits: allow more memory or a shorter context, or "
            + ("measure smaller models." if was == "was measured" else "ask about smaller models.")
        ]
    with_gain = [f for f in fitting if f.candidate.gain is not None]
    words = _of_gains(with_gain, found) if with_gain else []
    unknown = [f for f in fitting if f.candidate.gain is None]
    if unknown:
        largest = unknown[0]
        words.append(
            f"No gain is known for {len(unknown)} of the choices, so they are listed by size and not ranked; "
            f"the largest, {largest.candidate.name}, needs {readable(largest.memory.total_bytes)}. "
            "Measure them (kbit study), or give a law with --store or --fit."
        )
    return words


def _of_gains(fitting: Sequence[Fitting], found: Sequence[Candidate]) -> list[str]:
    best = fitting[0].candidate
    measured = best.basis == "measured"
    words = [
        f"{best.name} gains most of what {'fits' if measured else 'is predicted to fit'}: "
        f"{best.gain:.4f} bits per byte in {readable(fitting[0].memory.total_bytes)}."
    ]
    ties = [f for f in fitting[1:] if f.candidate.basis == best.basis and _overlap(f.candidate, best)]
    if ties:
        least = min((fitting[0], *ties), key=lambda f: f.memory.total_bytes)
        words.append(
            f"{len(ties)} other{'s' if len(ties) > 1 else ''} cannot be told from it "
            f"(95% intervals overlap); the smallest of them all is {least.candidate.model} "
            f"{least.candidate.format}, {readable(least.memory.total_bytes)}."
        )
    if any(f.candidate.interval is None for f in fitting):
        words.append("Some gains have no interval, so ties with them are unknown.")
    words += _of_predictions(fitting, best)
    words += _of_size(fitting, found, best)
    return words


def _overlap(one: Candidate, other: Candidate) -> bool:
    a, b = one.interval, other.interval
    return a is not None and b is not None and a[1] >= b[0] and a[0] <= b[1]


def _of_predictions(fitting: Sequence[Fitting], best: Candidate) -> list[str]:
    better = [
        f.candidate for f in fitting if f.candidate.basis == "predicted" and _gain(f.candidate) > _gain(best)
    ]
    if not better or best.basis != "measured":
        return []
    top = max(better, key=_gain)
    low, high = top.prediction95 or (float("nan"), float("nan"))
    beyond = f", {top.extrapolation:.2g} times beyond what was fitted" if (top.extrapolation or 1) > 1 else ""
    sure = "and its whole interval lies above" if low > _gain(best) else "but its interval does not say so"
    return [
        f"{top.name} was not measured; the law predicts that it gains more: {top.gain:.4f} "
        f"({low:.4f} to {high:.4f}){beyond}, {sure}. Measure it before you rely on it."
    ]


def _of_size(fitting: Sequence[Fitting], found: Sequence[Candidate], best: Candidate) -> list[str]:
    size = _parameters(best)
    if size is None:
        return []
    fit_larger = [f.candidate for f in fitting if (_parameters(f.candidate) or 0) > size]
    if fit_larger:
        rival = max(fit_larger, key=_gain)
        if _gain(rival) > _gain(best):
            return []  # a prediction, told already
        return [f"Larger models fit too, but lose: the best of them, {rival.name}, gains {rival.gain:.4f}."]
    if any((_parameters(c) or 0) > size for c in found):
        return ["No larger model fits, so use more bits for each weight of this one."]
    return ["No larger model was measured."]


def _gain(candidate: Candidate) -> float:
    return float("-inf") if candidate.gain is None else candidate.gain


def _parameters(candidate: Candidate) -> float | None:
    value = candidate.row.get("parameters")
    return float(value) if isinstance(value, int | float) else None


def about(found: Sequence[Candidate], *, bandwidth_gb_per_s: float | None) -> list[str]:
    """What gains and speeds take for granted."""
    measured = [c for c in found if c.basis == "measured"]
    words: list[str] = []
    if measured:
        texts = sorted({str(c.row["text"]) for c in measured if c.row.get("text") is not None})
        baselines = sorted({str(c.row["baseline"]) for c in measured if c.row.get("baseline") is not None})
        over = f" over the baseline {baselines[0]}" if baselines else ""
        on = f" on {texts[0]}" if texts else ""
        words.append(f"Gain is in bits per byte{over}{on}; on other text the order may differ.")
    kinds = {c.basis for c in found}
    if kinds == {"measured"}:
        words.append("Only measured pairs are ranked; nothing is predicted.")
    elif "measured" in kinds:
        words.append("Measured pairs come first, whatever is predicted of others.")
    if kinds - {"memory"}:
        words.append(
            "Two gains tie where their 95% intervals overlap, which is cautious: "
            "both are measured on the same documents."
        )
    if kinds - {"measured"}:
        words.append(
            "What was not measured has the size that kbit would store of its config's shapes: linear layers "
            "packed to the nearest entry, embeddings, output layer and norms in bfloat16."
        )
    if bandwidth_gb_per_s is not None:
        words.append(
            f"Speed is what {bandwidth_gb_per_s:.3g} GB/s (10^9 bytes) of memory bandwidth allow with a full "
            "context: every weight but a token table that is only looked up, and the whole cache, are read "
            "for each step. Kernels may be slower; a mixture of experts reads fewer weights."
        )
    return words


def readable(count: float) -> str:
    """Bytes for people.

    >>> readable(3 * 2**20), readable(1.5 * 2**30)
    ('3.00 MiB', '1.50 GiB')
    """
    for unit, width in (("GiB", GIB), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= width:
            return f"{count / width:.2f} {unit}"
    return f"{count:.0f} bytes"
