"""`advise`: which (model, format) to run in a given memory, and how sure that is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kbit.advise.choose import Basis, Candidate, candidates
from kbit.advise.memory import GIB, Memory, memory_assumptions, memory_of, missing_facts
from kbit.advise.reasons import Fitting, about, readable, reasons_for
from kbit.advise.speed import Speed, speed_of
from kbit.errors import UsageError

ORDER: tuple[Basis, ...] = ("measured", "predicted", "memory")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A (model, format) that fits.

    Attributes:
        memory_gib: all of it; `weights_bytes`, `kv_bytes` and `working_bytes` are its items.
        kv_bytes_per_token: of the cache, for the whole batch.
        engine: what generates: the `core`'s step, or `transformers`.
        basis: whether the gain was `measured`, is `predicted` by a law, or is not known (`memory`).
        gain: bits per byte over the baseline; None where it is not known.
        ci95: of a measured gain; None where it has none.
        prediction95: of a predicted gain; `extrapolation`: how many times beyond the fitted sizes it lies.
        tie_with_best: its interval overlaps that of the best; None where an interval is missing.
        on_frontier: nothing that fits is better in less memory; what is predicted beats no measurement.
        tokens_per_s: of one sequence, at most, where a bandwidth is given; it follows from `step_bytes`.
    """

    rank: int
    basis: Basis
    model: str
    family: str | None
    format: str
    method: str | None
    memory_gib: float
    weights_bytes: float
    kv_bytes: float
    kv_bytes_per_token: float
    working_bytes: float
    engine: str
    gain: float | None
    ci95: tuple[float, float] | None
    prediction95: tuple[float, float] | None
    extrapolation: float | None
    tie_with_best: bool | None
    on_frontier: bool
    step_bytes: float | None
    tokens_per_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A (model, format) that cannot be advised, and why."""

    model: str
    format: str
    method: str | None
    memory_gib: float | None
    gain: float | None
    reason: str
    basis: Basis


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to run: choices from the best down, what was left out, reasons in words, assumptions."""

    memory_gib: float
    context: int
    batch: int
    kv_bits: float
    bandwidth_gb_per_s: float | None
    least_tokens_per_s: float | None
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
    engine: str = "auto",
    text: str | None = None,
    baseline: str | None = None,
    others: Sequence[Candidate] = (),
    bandwidth_gb_per_s: float | None = None,
    least_tokens_per_s: float | None = None,
    notes: Sequence[str] = (),
) -> Advice:
    """Rank the (model, format) pairs that fit in a memory: measured gains first, then predicted ones.

    Args:
        rows: exported measurements; each with a gain is a candidate. May be empty where `others` is not.
        memory_gib: what there is, in GiB.
        context: tokens kept, prompt and answer together.
        batch: sequences at once.
        kv_bits: bits for each number of the key-value cache.
        engine: which way of generating memory is counted for: "core", "transformers", or "auto", the one that
            `kbit generate` takes for each model.
        text: gains on this text only.
        baseline: gains over this baseline only.
        others: what was not measured (`kbit.advise.predict`).
        bandwidth_gb_per_s: of reading memory; gives each choice a speed.
        least_tokens_per_s: choices whose sequences cannot reach this are left out; needs the bandwidth.
        notes: further assumptions, such as those of a law.

    Raises:
        UsageError: a number that is not positive, or a least speed without a bandwidth.
        LawError: no gain among the rows, or several texts or baselines to choose from.
    """
    _check(memory_gib, bandwidth_gb_per_s, least_tokens_per_s)
    rows = list(rows)
    measured = candidates(rows, text=text, baseline=baseline) if rows or not others else []
    found = [*measured, *others]
    fitting: list[Fitting] = []
    left: list[LeftOut] = []
    engines: set[str] = set()
    for candidate in found:
        memory = memory_of(candidate.row, context=context, batch=batch, kv_bits=kv_bits, engine=engine)
        engines |= set() if memory is None else {memory.engine}
        speed = None
        if memory is not None and bandwidth_gb_per_s is not None:
            speed = speed_of(candidate.row, memory, bandwidth_gb_per_s=bandwidth_gb_per_s)
        reason = _why_not(
            candidate, memory, speed, memory_gib=memory_gib, context=context, least=least_tokens_per_s
        )
        if memory is not None and reason is None:
            fitting.append(Fitting(candidate=candidate, memory=memory, speed=speed))
        else:
            left.append(
                LeftOut(
                    model=candidate.model,
                    format=candidate.format,
                    method=candidate.method,
                    memory_gib=None if memory is None else memory.memory_gib,
                    gain=candidate.gain,
                    reason=reason or "",
                    basis=candidate.basis,
                )
            )
    fitting.sort(key=_order)
    return Advice(
        memory_gib=float(memory_gib),
        context=context,
        batch=batch,
        kv_bits=float(kv_bits),
        bandwidth_gb_per_s=bandwidth_gb_per_s,
        least_tokens_per_s=least_tokens_per_s,
        choices=_ranked(fitting),
        left_out=tuple(sorted(left, key=lambda item: (-_height(item.gain), item.model, item.format))),
        reasons=tuple(reasons_for(fitting, found)),
        assumptions=(
            *memory_assumptions(
                context=context,
                batch=batch,
                kv_bits=kv_bits,
                engines=engines,
            ),
            *about(found, bandwidth_gb_per_s=bandwidth_gb_per_s),
            *notes,
        ),
    )


def _check(memory_gib: float, bandwidth: float | None, least: float | None) -> None:
    if not 0 < memory_gib < math.inf:
        raise UsageError(f"memory_gib must be positive and finite, got {memory_gib}.")
    for name, value in (("bandwidth_gb_per_s", bandwidth), ("least_tokens_per_s", least)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {value}.")
    if least is not None and bandwidth is None:
        raise UsageError("a least speed needs the memory's bandwidth: give --bandwidth-gb-s.")


def _height(gain: float | None) -> float:
    return -math.inf if gain is None else gain


def _order(item: Fitting) -> tuple[int, float, float, str]:
    """Measured gains first, then predicted ones; what has no gain by size, the largest first."""
    size = item.memory.total_bytes
    gain = item.candidate.gain
    name = item.candidate.name
    place = ORDER.index(item.candidate.basis)
    return (place, 0.0, -size, name) if gain is None else (place, -gain, size, name)


def _why_not(
    candidate: Candidate,
    memory: Memory | None,
    speed: Speed | None,
    *,
    memory_gib: float,
    context: int,
    least: float | None,
) -> str | None:
    if memory is None:
        known_by = "store" if candidate.basis == "measured" else "config"
        return (
            f"the {known_by} does not know its {', '.join(missing_facts(candidate.row))}, "
            "so its memory is unknown"
        )
    longest = candidate.row.get("max_context")
    if isinstance(longest, int | float) and context > longest:
        return f"its longest context is {int(longest)} tokens"
    if memory.total_bytes > memory_gib * GIB:
        over = memory.total_bytes - memory_gib * GIB
        return f"needs {readable(memory.total_bytes)}, {readable(over)} more than there is"
    if least is not None and speed is not None and speed.tokens_per_s < least:
        return f"makes {speed.tokens_per_s:.3g} tokens a second at most, fewer than {least:g}"
    return None


def _tie(own: Candidate, best: Candidate) -> bool | None:
    if own is best:
        return True
    mine, top = own.interval, best.interval
    if mine is None or top is None:
        return None
    return mine[1] >= top[0] and mine[0] <= top[1]


def _ranked(fitting: list[Fitting]) -> tuple[Choice, ...]:
    choices = []
    for rank, item in enumerate(fitting, start=1):
        candidate, memory = item.candidate, item.memory
        choices.append(
            Choice(
                rank=rank,
                basis=candidate.basis,
                model=candidate.model,
                family=candidate.family,
                format=candidate.format,
                method=candidate.method,
                memory_gib=memory.memory_gib,
                weights_bytes=memory.weights_bytes,
                kv_bytes=memory.kv_bytes,
                kv_bytes_per_token=memory.kv_bytes_per_token,
                working_bytes=memory.working_bytes,
                engine=memory.engine,
                gain=candidate.gain,
                ci95=candidate.ci95,
                prediction95=candidate.prediction95,
                extrapolation=candidate.extrapolation,
                tie_with_best=_tie(candidate, fitting[0].candidate),
                on_frontier=candidate.gain is not None and not any(_beats(other, item) for other in fitting),
                step_bytes=None if item.speed is None else item.speed.step_bytes,
                tokens_per_s=None if item.speed is None else item.speed.tokens_per_s,
            )
        )
    return tuple(choices)


def _beats(other: Fitting, item: Fitting) -> bool:
    gain, own = other.candidate.gain, item.candidate.gain
    if gain is None or own is None or ORDER.index(other.candidate.basis) > ORDER.index(item.candidate.basis):
        return False
    return gain >= own and (other.memory.total_bytes, -gain) < (item.memory.total_bytes, -own)
