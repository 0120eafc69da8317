"""Several laws on one table: held-out error first, AICc beside it, interpolation among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbit.errors import LawError
from kbit.laws.fit import fit
from kbit.laws.forms import form as form_of
from kbit.laws.result import Fit
from kbit.laws.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One law of a comparison.

    Attributes:
        law: its name.
        fit: None where it was refused.
        refused: why.
        free_parameters: how many were fitted.
        held_out_miss: mean absolute miss on the largest models, which this fit's test never saw.
        held_out_within: share of those rows inside their 95% prediction interval.
        aicc_above_best: AICc less the lowest of the comparison; None for interpolation.
    """

    law: str
    fit: Fit | None
    refused: str | None
    free_parameters: int
    held_out_miss: float | None
    held_out_within: float | None
    aicc_above_best: float | None

    def to_dict(self) -> dict[str, Any]:
        """The row without the fit, for JSON."""
        return {
            "law": self.law,
            "refused": self.refused,
            "free_parameters": self.free_parameters,
            "held_out_miss": self.held_out_miss,
            "held_out_within": self.held_out_within,
            "aicc_above_best": self.aicc_above_best,
            "warnings": [] if self.fit is None else list(self.fit.warnings),
        }


def compare(
    laws: Sequence[str], table: Table, *, objective: str | None = None, **options: Any
) -> list[Compared]:
    """Fit each law with the same objective and order them by what they miss on models they never saw.

    Args:
        laws: names; `interpolation` is the yardstick a law has to beat, where the size is one column.
        table: what all are fitted to.
        objective: of all of them, because criteria of different objectives cannot be compared; by default
            that of the first.
        options: as for `fit`.

    Raises:
        LawError: an unknown law, fewer than two, or none that the data can carry.
    """
    names = list(dict.fromkeys(laws))
    if len(names) < 2:
        raise LawError(f"a comparison needs at least two laws, got {', '.join(names) or 'none'}.")
    forms = [form_of(name) for name in names]
    shared = objective or next((f.objective for f in forms if not f.is_interpolation), None)
    fits: dict[str, Fit] = {}
    refused: dict[str, str] = {}
    for form in forms:
        given = dict(options)
        if form.is_interpolation:
            given["columns"] = _one_size(forms, given.get("columns"))
            given.pop("fixed", None)
        try:
            fits[form.name] = fit(form.name, table, objective=shared, **given)
        except LawError as error:
            refused[form.name] = str(error)
    if not fits:
        raise LawError(f"none of the laws can be fitted; {next(iter(refused.values()))}")
    criteria = {n: f.diagnostics.aicc for n, f in fits.items() if not f.form.is_interpolation}
    least = min(criteria.values(), default=0.0)
    rows = [
        Compared(
            law=name,
            fit=fits.get(name),
            refused=refused.get(name),
            free_parameters=len(fits[name].parameters) - len(fits[name].fixed) if name in fits else 0,
            held_out_miss=held.mean_absolute_miss if (held := _held(fits, name)) else None,
            held_out_within=sum(r.within for r in held.rows) / len(held.rows) if held else None,
            aicc_above_best=criteria[name] - least if name in criteria else None,
        )
        for name in names
    ]
    return sorted(rows, key=lambda r: (r.fit is None, r.held_out_miss is None, r.held_out_miss or 0.0))


def _held(fits: Mapping[str, Fit], name: str) -> Any:
    return fits[name].held_out if name in fits else None


def _one_size(forms: Sequence[Any], columns: Mapping[str, str] | None) -> dict[str, str]:
    """Interpolation's size is the first size of the other laws, whatever it counts."""
    given = dict(columns or {})
    sizes = {i.role for f in forms if not f.is_interpolation for i in f.inputs if i.size}
    if len(sizes) == 1 and "stored_bits" not in sizes:
        role = next(iter(sizes))
        given["stored_bits"] = given.pop(role, role)
    return given
