"""Tables as laws read them: plain columns, matched to the roles of a form, with every dropped row counted."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kbit.errors import LawError, did_you_mean
from kbit.laws.dual import Array
from kbit.laws.form import Direction, Form
from kbit.laws.units import factor, mixed

Table = Mapping[str, Any] | Sequence[Mapping[str, Any]]

# role -> names of columns that may stand for it without being told, the surest first
ALIASES: Mapping[str, tuple[str, ...]] = {
    "params": ("params", "parameters", "N"),
    "tokens": ("tokens", "D"),
    "unique_tokens": ("unique_tokens", "D_unique"),
    "stored_bits": ("stored_bits",),
    "bits": ("format_bits", "k", "bits", "w_bits"),
    "mse": ("mse", "gaussian_mse"),
    "loss": ("loss", "bits_per_byte"),
    "model": ("model", "run"),
    "standard_error": ("standard_error", "gain_standard_error"),
    "weight": ("weight",),
}
RISING = ("gain", "accuracy")
FALLING = ("loss", "bits_per_byte", "loss_nats", "perplexity", "damage")
RESPONSES = ("response", "value", *RISING, *FALLING)
ROLES = (*ALIASES, *RESPONSES)
# the same role under the names people use for it
SYNONYMS = {
    "parameters": "params",
    "N": "params",
    "D": "tokens",
    "k": "bits",
    "y": "response",
    "se": "standard_error",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Rows ready for a fit.

    Attributes:
        columns: input role -> values [rows]; a `levels` input adds a 0/1 column for each level but the first.
        response: [rows].
        standard_error: measured, [rows], or None.
        weight: given by the caller, [rows], ones by default.
        models: label of the model each row belongs to, [rows].
        response_role: what the caller called the response.
        levels: of the categorical input, the reference first; () if there is none.
        sources: role -> column it was read from.
        dropped: rows left out because a value was missing.
        mixed: what the rows mix that has no common unit, where the caller insisted.
    """

    columns: Mapping[str, Array]
    response: Array
    standard_error: Array | None
    weight: Array
    models: NDArray[np.str_]
    response_role: str
    levels: tuple[str, ...]
    sources: Mapping[str, str]
    dropped: int
    mixed: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.response.shape[0])

    @property
    def model_count(self) -> int:
        """How many models the rows belong to."""
        return int(np.unique(self.models).size)

    def take(self, keep: NDArray[np.bool_]) -> "Data":
        """Only the rows where `keep` is true."""
        return Data(
            columns={role: values[keep] for role, values in self.columns.items()},
            response=self.response[keep],
            standard_error=None if self.standard_error is None else self.standard_error[keep],
            weight=self.weight[keep],
            models=self.models[keep],
            response_role=self.response_role,
            levels=self.levels,
            sources=self.sources,
            dropped=self.dropped,
            mixed=self.mixed,
        )

    def content_hash(self) -> str:
        """sha256 of what the fit reads, so that a saved fit can be matched to its data."""
        digest = hashlib.sha256()
        for role in sorted(self.columns):
            digest.update(role.encode())
            digest.update(np.ascontiguousarray(self.columns[role]).tobytes())
        for part in (self.response, self.weight, self.standard_error):
            if part is not None:
                digest.update(np.ascontiguousarray(part).tobytes())
        digest.update("\n".join(str(m) for m in self.models).encode())
        return digest.hexdigest()


def as_columns(table: Table) -> dict[str, NDArray[Any]]:
    """A table given by columns or by rows, as columns of equal length; absent values are None.

    Raises:
        LawError: the columns differ in length, or there are none.
    """
    if isinstance(table, Mapping):
        columns = {str(name): np.asarray(values) for name, values in table.items()}
    else:
        names: dict[str, None] = {}
        for row in table:
            names.update(dict.fromkeys(row))
        columns = {n: np.array([row.get(n) for row in table], dtype=object) for n in names}
    sizes = {values.shape[0] if values.ndim == 1 else -1 for values in columns.values()}
    if len(sizes) != 1 or -1 in sizes or sizes == {0}:
        lengths = {name: values.shape for name, values in columns.items()}
        raise LawError(
            "a table needs columns of one length, at least one row long; "
            + (f"got shapes {lengths}" if columns else "this one is empty.")
        )
    return columns


def numbers(values: NDArray[Any], column: str) -> Array:
    """A column as floats; None and "" become NaN.

    Raises:
        LawError: a value that is no number.
    """
    result = np.empty(values.shape[0])
    for i, value in enumerate(values.tolist()):
        if value is None or (isinstance(value, str) and not value.strip()):
            result[i] = np.nan
            continue
        try:
            result[i] = float(value)
        except (TypeError, ValueError):
            raise LawError(f"column {column!r}, row {i + 1}: {value!r} is no number.") from None
    return result


def where(table: Table, conditions: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The rows whose columns equal the given values (as numbers where both sides are numbers).

    A name that ends in ">" or "<" keeps values that are at least, or at most, the one given.

    >>> where({"a": [1, 2], "b": ["x", "y"]}, {"a": "2"})["b"].tolist()
    ['y']
    """
    columns = as_columns(table)
    keep = np.ones(next(iter(columns.values())).shape[0], dtype=bool)
    for name, wanted in conditions.items():
        # "bits>=4" arrives here as the name "bits>" and the value "4"
        order = name[-1] if name[-1:] in "<>" and name not in columns else ""
        column = name.removesuffix(order)
        if column not in columns:
            raise LawError(f"there is no column {column!r} to select on: {did_you_mean(column, columns)}")
        if order:
            values = numbers(columns[column], column)
            limit = numbers(np.array([wanted], dtype=object), column)[0]
            keep &= values >= limit if order == ">" else values <= limit
        else:
            keep &= np.array([_same(value, wanted) for value in columns[column].tolist()])
    if not keep.any():
        raise LawError(f"no row has {', '.join(f'{n}={v}' for n, v in conditions.items())}.")
    return {name: values[keep] for name, values in columns.items()}


def _same(value: Any, wanted: Any) -> bool:
    try:
        return float(value) == float(wanted)
    except (TypeError, ValueError):
        return str(value) == str(wanted)


def level_name(value: float | str) -> str:
    """How a level of a categorical input is written: 4.0 as "4"."""
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


def read(
    form: Form,
    table: Table,
    columns: Mapping[str, str] | None = None,
    *,
    units: Mapping[str, str] | None = None,
    allow_mixed: bool = False,
) -> Data:
    """Match a table's columns to a form's roles and drop rows with a missing value.

    Args:
        form: what is to be fitted.
        table: columns (name -> values) or rows (a mapping each).
        columns: role -> column, for what the names alone do not say.
        units: input role -> unit of its column, where that is not the law's own.
        allow_mixed: take rows of several texts, tokenisers, contexts, metrics or units together.

    Raises:
        LawError: an unknown role, column or unit, no response, nothing left, or rows without a common unit.
    """
    source = as_columns(table)
    given = _given(columns or {}, source)
    roles: dict[str, str] = {}
    for item in form.inputs:
        column = given.get(item.role) or next((a for a in ALIASES[item.role] if a in source), None)
        if column is None:
            raise LawError(
                f"law {form.name!r} needs {item.role} ({item.unit}); no column is named so. "
                f"Say which one: --column {item.role}=COLUMN. The table has: {', '.join(source)}."
            )
        roles[item.role] = column
    response_role, response_column = _response(
        {role: column for role, column in given.items() if role not in roles},
        source,
        taken=set(roles.values()),
    )
    model_column = given.get("model") or next((a for a in ALIASES["model"] if a in source), None)
    error_column = given.get("standard_error")
    weight_column = given.get("weight")

    inputs = {role: numbers(source[column], column) for role, column in roles.items()}
    scales = {
        SYNONYMS.get(role, role): factor(SYNONYMS.get(role, role), u) for role, u in (units or {}).items()
    }
    unused = sorted(set(scales) - set(inputs))
    if unused:
        raise LawError(
            f"law {form.name!r} has no input {unused[0]!r} to give a unit to; it has {', '.join(inputs)}."
        )
    inputs = {role: values * scales.get(role, 1.0) for role, values in inputs.items()}
    response = numbers(source[response_column], response_column)
    error = None if error_column is None else numbers(source[error_column], error_column)
    weight = (
        np.ones_like(response) if weight_column is None else numbers(source[weight_column], weight_column)
    )
    keep = np.isfinite(response) & np.isfinite(weight)
    for values in (*inputs.values(), *(() if error is None else (error,))):
        keep &= np.isfinite(values)
    if not keep.any():
        raise LawError(f"no row has all of {', '.join((*roles.values(), response_column))}: nothing to fit.")
    faults = mixed(source, keep, {**roles, response_role: response_column})
    if faults and not allow_mixed:
        raise LawError(
            f"{faults[0]}. Choose one with --where COLUMN=VALUE, or insist with --allow-mixed if they are "
            "comparable after all."
        )
    for item in form.inputs:
        if item.size and (inputs[item.role][keep] <= 0).any():
            raise LawError(f"{item.role} ({item.unit}) must be positive; column {roles[item.role]!r} is not.")
    if (weight[keep] < 0).any():
        raise LawError(f"weights must not be negative; column {weight_column!r} is.")
    if error is not None and (error[keep] <= 0).any():
        raise LawError(
            f"standard errors must be positive; column {error_column!r} has a zero or a negative one. "
            "Leave them out, or fit without weights."
        )
    count = response.shape[0]
    if model_column is None:
        labels = np.array([f"row {i + 1}" for i in range(count)])
    else:
        labels = np.array([str(v) for v in source[model_column].tolist()])
    levels = _expand_levels(form, inputs, keep)
    sources = {**roles, response_role: response_column}
    if model_column:
        sources["model"] = model_column
    everything = Data(
        columns=inputs,
        response=response,
        standard_error=error,
        weight=weight,
        models=labels,
        response_role=response_role,
        levels=levels,
        sources=sources,
        dropped=int(count - keep.sum()),
        mixed=tuple(faults),
    )
    return everything.take(keep)


def _given(columns: Mapping[str, str], source: Mapping[str, Any]) -> dict[str, str]:
    given: dict[str, str] = {}
    for role, column in columns.items():
        known = SYNONYMS.get(role, role)
        if known not in ROLES:
            raise LawError(f"there is no role {role!r}: {did_you_mean(role, ROLES)}")
        if column not in source:
            raise LawError(f"there is no column {column!r}: {did_you_mean(column, source)}")
        given[known] = column
    return given


def _response(given: Mapping[str, str], source: Mapping[str, Any], *, taken: set[str]) -> tuple[str, str]:
    told = [(role, given[role]) for role in RESPONSES if role in given]
    if len(told) > 1:
        raise LawError(f"one response at a time; got {', '.join(role for role, _ in told)}.")
    if told:
        return told[0]
    found = [name for name in RESPONSES if name in source and name not in taken]
    if not found:
        raise LawError(
            "which column is the response? Say --column gain=COLUMN, loss=COLUMN, accuracy=COLUMN "
            f"or value=COLUMN. The table has: {', '.join(source)}."
        )
    if len(found) > 1 and found[0] not in ("response", "value"):
        raise LawError(
            f"several columns could be the response ({', '.join(found)}): say --column {found[0]}=…"
        )
    return found[0], found[0]


def _expand_levels(form: Form, inputs: dict[str, Array], keep: NDArray[np.bool_]) -> tuple[str, ...]:
    """Replace a categorical input by 0/1 columns `offset[level]`; the largest level is the reference."""
    item = form.levels_input
    if item is None or form.offset is None:
        return ()
    values = inputs[item.role]
    levels = sorted({float(v) for v in values[keep]}, reverse=True)
    for level in levels[1:]:
        inputs[f"{form.offset.name}[{level_name(level)}]"] = (values == level).astype(np.float64)
    return tuple(level_name(level) for level in levels)


def direction_of(form: Form, data: Data, direction: Direction | None) -> Direction:
    """Which way the response goes: as told, by its name, or by its rank correlation with size."""
    chosen = direction
    # As a loss grows, models get worse: what rises with size falls with it.
    by_loss = form.inputs[0].role == "loss"
    if chosen is None and data.response_role in (*RISING, *FALLING):
        chosen = "rising" if (data.response_role in RISING) != by_loss else "falling"
    if chosen is None and len(form.directions) == 1:
        chosen = form.directions[0]
    if chosen is None:
        ranks = np.argsort(np.argsort(data.columns[form.inputs[0].role])).astype(np.float64)
        heights = np.argsort(np.argsort(data.response)).astype(np.float64)
        chosen = "rising" if np.cov(ranks, heights)[0, 1] >= 0 else "falling"
        if chosen not in form.directions:
            chosen = form.directions[0]
    if chosen not in form.directions:
        raise LawError(
            f"law {form.name!r} is for a {' or '.join(form.directions)} response; "
            f"{data.response_role!r} is {chosen}. Fit a loss (for example bits per byte), "
            "or choose another law."
        )
    return chosen
