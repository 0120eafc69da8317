"""`kbit fit`: a law to a table or a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.cli.rows import (
    Columns,
    DataFile,
    StoreUrl,
    StudyName,
    TextName,
    Where,
    pairs,
    saved_fit,
    table_from,
)
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.laws import Fit


def fit(
    *,
    law: Annotated[str | None, Parameter(help="A form; `kbit ls laws` lists them.")] = None,
    data: DataFile = None,
    store: StoreUrl = None,
    study: StudyName = None,
    text: TextName = None,
    column: Columns = None,
    where: Where = None,
    holdout: Annotated[str, Parameter(help="largest, a number of models, or none.")] = "largest",
    objective: Annotated[
        Literal["huber-log", "squares-log", "huber", "squares"] | None,
        Parameter(help="What is minimised; each law has its own default."),
    ] = None,
    delta: Annotated[float, Parameter(help="Where Huber's loss turns linear.")] = 1e-3,
    direction: Annotated[
        Literal["rising", "falling"] | None,
        Parameter(help="Whether the response grows with size; by default from its name or the data."),
    ] = None,
    interval: Annotated[
        Literal["auto", "bootstrap", "profile"],
        Parameter(help="auto: bootstrap by model or profile likelihood, whichever covers."),
    ] = "auto",
    resamples: Annotated[int, Parameter(help="Refits for the intervals.")] = 1000,
    starts: Annotated[int, Parameter(help="Starts of the search.")] = 24,
    allow_narrow: Annotated[
        bool, Parameter(negative=(), help="Fit although a size spans less than a decade.")
    ] = False,
    allow_mixed: Annotated[
        bool,
        Parameter(negative=(), help="Fit although rows mix texts, tokenisers, contexts, metrics or units."),
    ] = False,
    unit: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="ROLE=UNIT, where a column is not in the law's own unit."),
    ] = None,
    fix: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="PARAMETER=VALUE: held instead of fitted."),
    ] = None,
    compare: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="Other laws to fit and compare with.")
    ] = None,
    at: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="ROLE=VALUE: predict there.")
    ] = None,
    save: Annotated[Path | None, Parameter(help="Write the fit to a file.")] = None,
    load: Annotated[Path | None, Parameter(help="A saved fit, instead of a law and data.")] = None,
    picture: Annotated[
        Path | None, Parameter(help="Draw curve, residuals and influence: a .png or an .svg.")
    ] = None,
    seed: int = 0,
    json: JsonFlag = False,
) -> int:
    """Fit a scaling law, with intervals and the largest models held out as a test."""
    from kbit.laws import fit as fit_law

    if seed < 0:
        raise UsageError(f"--seed is {seed}; give 0 or more.")
    if load is not None:
        _only(load, law=law, data=data, store=store, compare=compare, save=save, picture=picture)
        return _emit(saved_fit(load), at=at, json=json)
    if law is None:
        raise UsageError("say which law: --law NAME (`kbit ls laws` lists them), or --load a saved fit.")
    roles = pairs(column, option="--column")
    rows = table_from(data, store, study=study, where=where)
    if store is not None:
        rows, roles = _measured(rows, roles, text)
    elif text is not None:
        raise UsageError("--text is for --store; select rows of a file with --where COLUMN=VALUE.")
    options: dict[str, Any] = {
        "columns": roles,
        "holdout": _holdout(holdout),
        "objective": objective,
        "delta": delta,
        "direction": direction,
        "interval": interval,
        "resamples": resamples,
        "starts": starts,
        "allow_narrow": allow_narrow,
        "allow_mixed": allow_mixed,
        "units": pairs(unit, option="--unit"),
        "fixed": numbers(fix, option="--fix"),
        "seed": seed,
    }
    result = fit_law(law, rows, **options)
    compared = _compared(law, compare, rows, options)
    if save is not None:
        from kbit.laws import to_json
        from kbit.report.atomic_file import write_file

        write_file(_not_an_input(save, data), to_json(result).encode())
    if picture is not None:
        from kbit.report.law_picture import save_law_picture

        save_law_picture(result, rows, columns=roles, out=_not_an_input(picture, data))
    return _emit(result, at=at, json=json, compared=compared)


def _emit(
    result: "Fit", *, at: list[str] | None, json: bool, compared: list[dict[str, Any]] | None = None
) -> int:
    """The fit, and if asked for the prediction and the comparison."""
    data = result.to_dict()
    inputs = {role: [value] for role, value in numbers(at, option="--at").items()}
    if inputs:
        found = result.predict(inputs)
        data["predicted"] = {
            "inputs": {role: values[0] for role, values in inputs.items()},
            "value": float(found.value[0]),
            "ci95": [float(end[0]) for end in found.ci95],
            "prediction95": [float(end[0]) for end in found.prediction95],
            "extrapolation": float(found.extrapolation[0]),
        }
    if compared is not None:
        data["compared"] = compared

    def show(console: "Console") -> None:
        lines = [result.fit_report()]
        if inputs:
            p = data["predicted"]
            lines.append(
                f"  predicted {p['value']:.5g}: curve {p['ci95'][0]:.5g} to {p['ci95'][1]:.5g}, "
                f"a new measurement {p['prediction95'][0]:.5g} to {p['prediction95'][1]:.5g}; "
                f"{p['extrapolation']:.3g} times the fitted range"
            )
        for row in compared or ():
            miss = "untested" if row["held_out_miss"] is None else f"held-out miss {row['held_out_miss']:.4g}"
            aicc = "" if row["aicc_above_best"] is None else f", AICc {row['aicc_above_best']:+.1f}"
            lines.append(f"  {row['law']}: {row['refused'] or miss + aicc}")
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)

    return emit(data, json=json, text=show)


def _compared(
    law: str, others: list[str] | None, rows: list[dict[str, Any]], options: dict[str, Any]
) -> list[dict[str, Any]] | None:
    if not others:
        return None
    from kbit.laws.compare import compare

    return [row.to_dict() for row in compare([law, *others], rows, **(options | {"resamples": 200}))]


def _only(load: Path, **others: Any) -> None:
    """A saved fit is already fitted."""
    extra = [name for name, value in others.items() if value is not None]
    if extra:
        raise UsageError(f"--load {load} is a finished fit: leave out --{', --'.join(extra)}.")


def _not_an_input(out: Path, data: Path | None) -> Path:
    if data is not None and data.exists() and out.exists() and out.samefile(data):
        raise UsageError(f"{out} is the data: choose another name to write to.")
    return out


def numbers(given: list[str] | None, *, option: str) -> dict[str, float]:
    """NAME=NUMBER options."""
    found = {}
    for name, text in pairs(given, option=option).items():
        try:
            found[name] = float(text)
        except ValueError:
            raise UsageError(f"{option} {name} takes a number, got {text!r}.") from None
    return found


def _holdout(given: str) -> str | int | None:
    if given in ("largest", "none"):
        return None if given == "none" else given
    if given.isdecimal():
        return int(given)
    raise UsageError(f"--holdout is largest, none, or a number of models; got {given!r}.")


def _measured(
    rows: list[dict[str, Any]], roles: dict[str, str], text: str | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of one text and one baseline; the response is the gain unless a column says otherwise."""
    from kbit.laws.table import RESPONSES

    if not any(role in RESPONSES for role in roles):
        roles = {"gain": "gain", **roles}
    if "gain" in roles.values():
        from kbit.advise import candidates

        return [dict(c.row) for c in candidates(rows, text=text)], roles
    kept = [r for r in rows if r.get("status") == "ok" and r.get("kind") == "model"]
    kept = [r for r in kept if text is None or r.get("text") == text]
    for name in ("text", "metric"):
        values = sorted({str(r.get(name)) for r in kept})
        if len(values) > 1:
            raise UsageError(
                f"the rows mix {name}s ({', '.join(values)}), which have no common unit: "
                f"choose one with --where {name}=…"
            )
    if not kept:
        raise UsageError("no measured row is left: check --text and --where.")
    return kept, roles
