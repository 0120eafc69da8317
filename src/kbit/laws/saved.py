"""A fit as a file: all that a prediction needs, and which data, form, seed and version made it."""

import json
import math
from typing import Any

import numpy as np

from kbit.errors import LawError
from kbit.laws.fit import VERSION
from kbit.laws.forms import form as form_of
from kbit.laws.interpolate import Knots
from kbit.laws.loss import Loss
from kbit.laws.model import Model
from kbit.laws.result import Diagnostics, Fit, HeldOut, HeldOutRow

SCHEMA = "kbit-fit-1"


def to_json(found: Fit) -> str:
    """The fit as JSON text; `from_json` makes it again."""
    knots = (found.knots, *found.knot_draws) if found.knots is not None else ()
    content = _strict(found.to_dict()) | {
        "schema": SCHEMA,
        "state": {
            "is_log": found.is_log,
            "levels": list(found.levels),
            "input_units": dict(found.input_units),
            "loss": None if found.loss is None else {"name": found.loss.name, "delta": found.loss.delta},
            "theta": None if found.theta is None else found.theta.tolist(),
            "draws": None if found.draws is None else _strict(found.draws.tolist()),
            "knots": [{"log_size": k.log_size.tolist(), "height": k.height.tolist()} for k in knots],
        },
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Fit:
    """The fit that `to_json` wrote, ready to predict.

    Raises:
        LawError: it is no saved fit, or one of another version of the algorithm or of the law.
    """
    try:
        content = json.loads(text)
        known = content.get("schema") == SCHEMA
    except (json.JSONDecodeError, AttributeError) as error:
        raise LawError("this is no saved fit: not JSON as `kbit fit --save` writes it.") from error
    if not known:
        raise LawError(f"this is no saved fit: its schema is {content.get('schema')!r}, not {SCHEMA!r}.")
    if content["version"] != VERSION:
        raise LawError(
            f"the fit was saved by version {content['version']} of the algorithm, this is {VERSION}: "
            "fit again."
        )
    state, fixed = content["state"], content["fixed"]
    form = form_of(content["law"]).holding(fixed) if fixed else form_of(content["law"])
    if form.formula != content["formula"]:
        raise LawError(f"law {form.name!r} has changed since the fit was saved: fit again.")
    knots = [Knots(log_size=np.array(k["log_size"]), height=np.array(k["height"])) for k in state["knots"]]
    model = None if state["theta"] is None else Model.with_levels(form, state["levels"], content["direction"])
    return Fit(
        law=form.name,
        form=form,
        direction=content["direction"],
        parameters=content["parameters"],
        units=content["units"],
        ci95={name: (_number(low), _number(high)) for name, (low, high) in content["ci95"].items()},
        interval=content["interval"],
        objective=content["objective"],
        objective_name=content["objective_name"],
        held_out=_held_out(content["held_out"]),
        warnings=tuple(content["warnings"]),
        diagnostics=_diagnostics(content["diagnostics"]),
        rows=content["rows"],
        models=content["models"],
        dropped=content["dropped"],
        response=content["response"],
        sources=content["sources"],
        seed=content["seed"],
        version=content["version"],
        data_hash=content["data_hash"],
        is_log=state["is_log"],
        input_ranges={role: (low, high) for role, (low, high) in content["input_ranges"].items()},
        levels=tuple(state["levels"]),
        fixed=fixed,
        input_units=state["input_units"],
        loss=None if state["loss"] is None else Loss(**state["loss"]),
        bound=model,
        theta=None if state["theta"] is None else np.array(state["theta"]),
        draws=None if state["draws"] is None else np.array(_loose(state["draws"]), dtype=np.float64),
        knots=knots[0] if knots else None,
        knot_draws=tuple(knots[1:]),
    )


def _diagnostics(content: dict[str, Any]) -> Diagnostics:
    values: dict[str, Any] = {name: value for name, value in content.items() if name != "bounds_hit"}
    values = {name: value if name == "starts" else _number(value) for name, value in values.items()}
    return Diagnostics(**values, bounds_hit=tuple(content["bounds_hit"]))


def _held_out(content: dict[str, Any] | None) -> HeldOut | None:
    if content is None:
        return None
    rows = tuple(
        HeldOutRow(
            **(row | {"prediction95": (_number(row["prediction95"][0]), _number(row["prediction95"][1]))})
        )
        for row in content["rows"]
    )
    return HeldOut(**(content | {"models": tuple(content["models"]), "rows": rows}))


def _strict(value: Any) -> Any:
    """Infinities and NaN as text: JSON has none, and an interval without an end is no missing one."""
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _loose(value: Any) -> Any:
    return [_loose(v) for v in value] if isinstance(value, list) else _number(value)


def _number(value: Any) -> float:
    return float(value)
