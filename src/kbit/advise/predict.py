"""Candidates that were not measured: sizes from a config, gains from a fitted law."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kbit.advise.choose import Candidate
from kbit.errors import KbitError, LawError
from kbit.laws import Fit, fit

# Laws that need nothing but what a store and a config tell; which of them predicts is decided by the test.
LAWS = ("capacity-by-error", "offset-by-bits")
KNOWN_INPUTS = ("params", "body_params", "bits", "mse", "stored_bits")


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """A law that gives gains, and what is to be said of it."""

    fit: Fit
    notes: tuple[str, ...]


def predictor(fitted: Fit) -> Predictor:
    """A fitted law, checked for use here.

    Raises:
        LawError: it predicts something else than a gain, or needs what a config does not tell.
    """
    if fitted.response != "gain":
        raise LawError(
            f"the fit of {fitted.law} predicts {fitted.response!r}; advice ranks gains. "
            "Fit one with --column gain=gain."
        )
    needed = [i.role for i in fitted.form.inputs if i.role not in KNOWN_INPUTS]
    if needed:
        raise LawError(
            f"law {fitted.law!r} needs {', '.join(needed)}, which a config does not tell; "
            f"fit one of {', '.join(LAWS)}."
        )
    held = fitted.held_out
    tested = (
        "it was not tested on held-out models"
        if held is None
        else f"without {', '.join(held.models)} it missed it by {held.mean_absolute_miss:.4f} on average"
    )
    return Predictor(
        fit=fitted,
        notes=(
            f"Predicted gains are those of the law {fitted.law}, fitted to {fitted.rows} rows of "
            f"{fitted.models} models; {tested}. Their intervals are for a new measurement on the same text.",
            *(f"The law warns: {w}" for w in fitted.warnings),
        ),
    )


def fit_gains(measured: Iterable[Candidate], *, law: str | None = None, seed: int = 0) -> Predictor:
    """Fit a law to measured gains.

    Args:
        measured: candidates with gains.
        law: which; by default, of `LAWS`, the one with the smallest miss on the held-out largest model.
        seed: of intervals.

    Raises:
        LawError: no law can be fitted to them; the message gives each reason.
    """
    rows = [_law_row(c) for c in measured if c.gain is not None]
    found: list[Fit] = []
    refused: list[str] = []
    for name in LAWS if law is None else (law,):
        try:
            found.append(fit(name, rows, columns={"gain": "gain"}, resamples=400, seed=seed))
        except LawError as error:
            refused.append(f"{name}: {error}")
    if not found:
        raise LawError("no law can be fitted to these gains, so nothing is predicted. " + " ".join(refused))
    best = min(found, key=lambda f: np.inf if f.held_out is None else f.held_out.mean_absolute_miss)
    return predictor(best)


def with_gains(candidates: Sequence[Candidate], by: Predictor) -> list[Candidate]:
    """The candidates with what a law predicts; one it cannot speak of (a k it never saw) stays as it is."""
    result = []
    for candidate in candidates:
        row = _law_row(candidate)
        inputs = {i.role: row.get(i.role) for i in by.fit.form.inputs}
        try:
            if any(value is None for value in inputs.values()):
                raise LawError("an input is not known")
            said = by.fit.predict({role: np.array([value]) for role, value in inputs.items()})
        except LawError:
            result.append(candidate)
            continue
        result.append(
            replace(
                candidate,
                basis="predicted",
                gain=float(said.value[0]),
                prediction95=(float(said.prediction95[0][0]), float(said.prediction95[1][0])),
                extrapolation=float(said.extrapolation[0]),
            )
        )
    return result


def from_configs(
    models: Sequence[Any], formats: Sequence[str], *, known: Iterable[Candidate] = ()
) -> list[Candidate]:
    """A candidate for each model and format, of which only the size is known.

    Args:
        models: `kbit.quantize.from_config.ConfigModel`s.
        formats: such as `nf4:b64` or `bf16`.
        known: measured ones, which are not given a second time.

    Raises:
        FormatError: a format that does not exist or does not fit a model.
    """
    from kbit.formats import parse_format

    parsed = [parse_format(given) for given in formats]
    measured = {(c.model, c.format) for c in known}
    found = []
    for model in models:
        for fmt in parsed:
            if (model.name, str(fmt)) in measured:
                continue
            bits = model.stored_bits(fmt)
            row = {
                "model": model.name,
                "format": str(fmt),
                "format_bits": fmt.bits,
                "parameters": model.parameters,
                "parameters_body": model.body_parameters,
                "weights": bits.weights,
                "weights_body": bits.body_weights,
                "stored_bits": bits.whole,
                "stored_bits_body": bits.body,
                "stored_bits_embeddings": bits.embeddings,
                **model.facts,
            }
            found.append(
                Candidate(
                    model=model.name,
                    family=None,
                    format=str(fmt),
                    method="nearest" if fmt.is_packed else None,
                    bits=float(fmt.bits),
                    gain=None,
                    ci95=None,
                    row=row,
                    basis="memory",
                )
            )
    return found


def _law_row(candidate: Candidate) -> dict[str, Any]:
    row: Mapping[str, Any] = candidate.row
    return {
        "model": candidate.model,
        "params": row.get("parameters"),
        "body_params": row.get("parameters_body"),
        "bits": candidate.bits,
        "stored_bits": row.get("stored_bits"),
        "mse": _mse(candidate.format),
        "gain": candidate.gain,
    }


def _mse(name: str) -> float | None:
    from kbit.formats import gaussian_mse, parse_format

    try:
        return gaussian_mse(parse_format(name))
    except (KbitError, ValueError):  # no such format any more, or a table made from data
        return None
