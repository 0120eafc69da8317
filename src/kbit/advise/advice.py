"""`advise`: which measured (model, format) to run in a given memory, and how sure that is."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kbit.advise.choose import Candidate, candidates
from kbit.advise.memory import GIB, Memory, memory_assumptions, memory_of, missing_facts
from kbit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A (model, format) that fits.

    Attributes:
        memory_gib: all of it; `weights_bytes`, `kv_bytes` and `working_bytes` are its items.
        kv_bytes_per_token: of the cache, for the whole batch.
        gain: bits per byte over the baseline; `ci95` its interval, None if it was not measured.
        tie_with_best: its interval overlaps that of the best; None where an interval is missing.
        on_frontier: nothing that fits is better in less memory.
    """

    rank: int
    model: str
    family: str | None
    format: str
    method: str | None
    memory_gib: float
    weights_bytes: float
    kv_bytes: float
    kv_bytes_per_token: float
    working_bytes: float
    gain: float
    ci95: tuple[float, float] | None
    tie_with_best: bool | None
    on_frontier: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A (model, format) that was measured but cannot be advised, and why."""

    model: str
    format: str
    method: str | None
    memory_gib: float | None
    gain: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to run: choices from the best down, what was left out, reasons in words, assumptions."""

    memory_gib: float
    context: int
    batch: int
    kv_bits: float
    choices: tuple[Choice, ...]
    left_out: tuple[LeftOut, ...]
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types; what `kbit advise --json` prints."""
        return asdict(self)


def advise(
    rows: Iterable[Mapping[str, Any]],
    *,
    memory_gib: float,
    context: int,
    batch: int = 1,
    kv_bits: float = 16.0,
    text: str | None = None,
    baseline: str | None = None,
) -> Advice:
    """Rank the measured (model, format) pairs that fit in a memory by their gain.

    Args:
        rows: exported measurements; each with a gain is a candidate.
        memory_gib: what there is, in GiB.
        context: tokens kept, prompt and answer together.
        batch: sequences at once.
        kv_bits: bits for each number of the key-value cache.
        text: gains on this text only.
        baseline: gains over this baseline only.

    Raises:
        UsageError: a number that is not positive.
        LawError: no gain among the rows, or several texts or baselines to choose from.
    """
    if not 0 < memory_gib < math.inf:
        raise UsageError(f"memory_gib must be positive and finite, got {memory_gib}.")
    found = candidates(rows, text=text, baseline=baseline)
    fitting: list[tuple[Candidate, Memory]] = []
    left: list[LeftOut] = []
    for candidate in found:
        memory = memory_of(candidate.row, context=context, batch=batch, kv_bits=kv_bits)
        reason = _why_not(candidate, memory, memory_gib=memory_gib, context=context)
        if memory is not None and reason is None:
            fitting.append((candidate, memory))
        else:
            left.append(
                LeftOut(
                    model=candidate.model,
                    format=candidate.format,
                    method=candidate.method,
                    memory_gib=None if memory is None else memory.memory_gib,
                    gain=candidate.gain,
                    reason=reason or "",
                )
            )
    fitting.sort(key=lambda pair: (-pair[0].gain, pair[1].total_bytes, pair[0].name))
    choices = _ranked(fitting)
    return Advice(
        memory_gib=float(memory_gib),
        context=context,
        batch=batch,
        kv_bits=float(kv_bits),
        choices=choices,
        left_out=tuple(sorted(left, key=lambda item: (-item.gain, item.model, item.format))),
        reasons=tuple(_reasons(fitting, choices, found)),
        assumptions=(*memory_assumptions(context=context, batch=batch, kv_bits=kv_bits), *_about(found)),
    )


def _why_not(candidate: Candidate, memory: Memory | None, *, memory_gib: float, context: int) -> str | None:
    if memory is None:
        return (
            f"the store does not know its {', '.join(missing_facts(candidate.row))}, so its memory is unknown"
        )
    longest = candidate.row.get("max_context")
    if isinstance(longest, int | float) and context > longest:
        return f"its longest context is {int(longest)} tokens"
    if memory.total_bytes > memory_gib * GIB:
        over = memory.total_bytes - memory_gib * GIB
        return f"needs {readable(memory.total_bytes)}, {readable(over)} more than there is"
    return None


def _ranked(fitting: list[tuple[Candidate, Memory]]) -> tuple[Choice, ...]:
    choices = []
    for rank, (candidate, memory) in enumerate(fitting, start=1):
        best = fitting[0][0]
        tie: bool | None = None
        if rank == 1:
            tie = True
        elif candidate.ci95 is not None and best.ci95 is not None:
            tie = candidate.ci95[1] >= best.ci95[0]
        beaten = any(
            other.gain >= candidate.gain
            and (need.total_bytes, -other.gain) < (memory.total_bytes, -candidate.gain)
            for other, need in fitting
        )
        choices.append(
            Choice(
                rank=rank,
                model=candidate.model,
                family=candidate.family,
                format=candidate.format,
                method=candidate.method,
                memory_gib=memory.memory_gib,
                weights_bytes=memory.weights_bytes,
                kv_bytes=memory.kv_bytes,
                kv_bytes_per_token=memory.kv_bytes_per_token,
                working_bytes=memory.working_bytes,
                gain=candidate.gain,
                ci95=candidate.ci95,
                tie_with_best=tie,
                on_frontier=not beaten,
            )
        )
    return tuple(choices)


def _reasons(
    fitting: list[tuple[Candidate, Memory]], choices: tuple[Choice, ...], found: list[Candidate]
) -> list[str]:
    if not choices:
        return [
            "Nothing that was measured fits: allow more memory or a shorter context, "
            "or measure smaller models."
        ]
    best, best_candidate = choices[0], fitting[0][0]
    words = [
        f"{best_candidate.name} gains most of what fits: {best.gain:.4f} bits per byte "
        f"in {readable(best.memory_gib * GIB)}."
    ]
    ties = [c for c in choices[1:] if c.tie_with_best]
    if ties:
        least = min((choices[0], *ties), key=lambda c: c.memory_gib)
        words.append(
            f"{len(ties)} other{'s' if len(ties) > 1 else ''} cannot be told from it "
            f"(95% intervals overlap); the smallest of them all is {least.model} {least.format}, "
            f"{readable(least.memory_gib * GIB)}."
        )
    if any(c.tie_with_best is None for c in choices):
        words.append("Some gains have no interval, so ties with them are unknown.")
    size = _parameters(best_candidate)
    if size is not None:
        fit_larger = [c for c, _ in fitting if (_parameters(c) or 0) > size]
        any_larger = [c for c in found if (_parameters(c) or 0) > size]
        if fit_larger:
            rival = max(fit_larger, key=lambda c: c.gain)
            words.append(
                f"Larger models fit too, but lose: the best of them, {rival.name}, gains {rival.gain:.4f}."
            )
        elif any_larger:
            words.append("No larger model fits, so use more bits for each weight of this one.")
        else:
            words.append("No larger model was measured.")
    return words


def _parameters(candidate: Candidate) -> float | None:
    value = candidate.row.get("parameters")
    return float(value) if isinstance(value, int | float) else None


def _about(found: list[Candidate]) -> list[str]:
    texts = sorted({str(c.row["text"]) for c in found if c.row.get("text") is not None})
    baselines = sorted({str(c.row["baseline"]) for c in found if c.row.get("baseline") is not None})
    over = f" over the baseline {baselines[0]}" if baselines else ""
    on = f" on {texts[0]}" if texts else ""
    return [
        f"Gain is in bits per byte{over}{on}; on other text the order may differ.",
        "Only measured pairs are ranked; nothing is predicted.",
        "Two gains tie where their 95% intervals overlap, which is cautious: "
        "both are measured on the same documents.",
    ]


def readable(count: float) -> str:
    """Bytes for people.

    >>> readable(3 * 2**20), readable(1.5 * 2**30)
    ('3.00 MiB', '1.50 GiB')
    """
    for unit, width in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= width:
            return f"{count / width:.2f} {unit}"
    return f"{count:.0f} bytes"
