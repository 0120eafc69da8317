"""`kbit fit`: a law to a table or a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.cli.rows import Columns, StoreUrl, StudyName, TextName, Where, pairs, table_from
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def fit(
    *,
    law: Annotated[str, Parameter(help="A form; `kbit ls laws` lists them.")],
    data: Annotated[Path | None, Parameter(help="A CSV, Parquet or JSON file.")] = None,
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
        Parameter(help="auto: bootstrap by model, profile likelihood below eight models."),
    ] = "auto",
    resamples: Annotated[int, Parameter(help="Refits for the intervals.")] = 1000,
    starts: Annotated[int, Parameter(help="Starts of the search.")] = 24,
    allow_narrow: Annotated[
        bool, Parameter(negative=(), help="Fit although a size spans less than a decade.")
    ] = False,
    seed: int = 0,
    json: JsonFlag = False,
) -> int:
    """Fit a scaling law, with intervals and the largest models held out as a test."""
    from kbit.laws import fit as fit_law

    if seed < 0:
        raise UsageError(f"--seed is {seed}; give 0 or more.")
    roles = pairs(column, option="--column")
    rows = table_from(data, store, study=study, where=where)
    if store is not None:
        rows, roles = _measured(rows, roles, text)
    elif text is not None:
        raise UsageError("--text is for --store; select rows of a file with --where COLUMN=VALUE.")
    result = fit_law(
        law,
        rows,
        columns=roles,
        holdout=_holdout(holdout),
        objective=objective,
        delta=delta,
        direction=direction,
        interval=interval,
        resamples=resamples,
        starts=starts,
        allow_narrow=allow_narrow,
        seed=seed,
    )

    def show(console: "Console") -> None:
        console.print(result.fit_report(), markup=False, highlight=False, soft_wrap=True)

    return emit(result.to_dict(), json=json, text=show)


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
