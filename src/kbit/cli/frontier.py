"""`kbit frontier`: which k is best at equal stored bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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


def frontier(
    *,
    data: DataFile = None,
    store: StoreUrl = None,
    study: StudyName = None,
    text: TextName = None,
    column: Columns = None,
    where: Where = None,
    better: Annotated[
        Literal["higher", "lower"] | None,
        Parameter(help="Which values are better; by default from the column's role or the data."),
    ] = None,
    grid: Annotated[int, Parameter(help="Sizes compared in each family.")] = 41,
    least: Annotated[int, Parameter(help="Curves that must overlap for a comparison.")] = 3,
    block: Annotated[
        int | None, Parameter(help="Weights that share a scale, where no column says it.")
    ] = None,
    items: Annotated[
        int | None, Parameter(help="Questions that each accuracy counts; gives intervals where none are.")
    ] = None,
    fit: Annotated[
        Path | None, Parameter(help="A saved fit: tell the k it calls best, instead of comparing points.")
    ] = None,
    stored_bits: Annotated[
        list[float] | None, Parameter(consume_multiple=True, help="With --fit: the sizes to ask about.")
    ] = None,
    datatype: Annotated[
        str | None, Parameter(help="With --fit of a law in mse: nf (by default), int, …")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Tell which k is best at equal stored bits, for each family and size."""
    from kbit.advise import frontier as compare
    from kbit.advise.points import points_from_gains, points_from_table

    if fit is not None:
        _refuse_with_fit(data=data, store=store, study=study, text=text, column=column, where=where,
                         better=better, items=items)  # fmt: skip
        return _of_fit(fit, sizes=stored_bits, block=block, datatype=datatype, json=json)
    if stored_bits is not None or datatype is not None:
        raise UsageError("--stored-bits and --datatype are for --fit FILE.")
    roles = pairs(column, option="--column")
    rows = table_from(data, store, study=study, where=where)
    if store is not None:
        if roles or block is not None or items is not None or better is not None:
            raise UsageError(
                "--column, --block, --items and --better are for --data; a store's gains are known."
            )
        found = points_from_gains(rows, text=text)
    else:
        if text is not None:
            raise UsageError("--text is for --store; select rows of a file with --where COLUMN=VALUE.")
        found = points_from_table(rows, columns=roles, better=better, block=block, items=items)
    result = compare(found.points, higher_is_better=found.higher_is_better, grid=grid, least=least)
    answer = result.to_dict()
    answer["assumptions"] = [*found.assumptions, *answer["assumptions"]]

    def show(console: "Console") -> None:
        from rich.table import Table

        table = Table(title="best k at equal stored bits", box=None)
        for name in ("family", "comparisons", "wins", "ties", "crossovers"):
            table.add_column(name, justify="right" if name in ("comparisons", "ties") else "left")
        for name, family in result.families.items():
            wins = ", ".join(f"{k}: {count}" for k, count in family.wins.items()) or (family.note or "")
            crossovers = ", ".join(
                f"{c.before} to {c.after} at {c.stored_bits:.3g} bits" for c in family.crossovers
            )
            table.add_row(name, str(family.comparisons), wins, str(family.ties), crossovers)
        total = result.total
        wins = ", ".join(f"{k}: {count}" for k, count in total["wins"].items())
        table.add_row("all", str(total["comparisons"]), wins, str(total["ties"]), "", style="bold")
        console.print(table)
        worth = Table(title="what one more bit is worth", box=None)
        for name in ("family", "k", "times the parameters", "95%", "costs, times the bits", ""):
            worth.add_column(name)
        for name, family in result.families.items():
            for w in family.bit_worth:
                worth.add_row(
                    name,
                    f"{w.fewer} to {w.more}",
                    f"{w.factor:.3g} ({w.low:.3g} to {w.high:.3g})",
                    "–" if w.ci95 is None else f"{w.ci95[0]:.3g} to {w.ci95[1]:.3g}",
                    f"{w.cost:.3g}",
                    "unsure" if w.pays is None else "pays" if w.pays else "does not pay",
                )
        if worth.rows:
            console.print(worth)
        pareto = Table(title="not beaten in as few bits", box=None)
        for name in ("model", "k", "stored bits", "value"):
            pareto.add_column(name, justify="left" if name == "model" else "right")
        for point in result.pareto:
            pareto.add_row(point.model, point.label, f"{point.stored_bits:.4g}", f"{point.value:.4f}")
        console.print(pareto)
        for line in answer["assumptions"]:
            console.print(f"- {line}", markup=False, soft_wrap=True)

    return emit(answer, json=json, text=show)


def _refuse_with_fit(**others: object) -> None:
    extra = [f"--{name}" for name, value in others.items() if value is not None]
    if extra:
        raise UsageError(f"--fit asks a law, not points: leave out {', '.join(extra)}.")


def _of_fit(
    path: Path, *, sizes: list[float] | None, block: int | None, datatype: str | None, json: bool
) -> int:
    """The best k of a fitted law."""
    from kbit.advise.best_k import best_k

    found = best_k(
        saved_fit(path), sizes=sizes, block=64 if block is None else block, datatype=datatype or "nf"
    )

    def show(console: "Console") -> None:
        from rich.table import Table

        table = Table(title=f"best k at equal stored bits, law {found.law}", box=None)
        for name in ("stored bits", "k*", "95%", "parameters", "response", "draws that call it best"):
            table.add_column(name, justify="right")
        for at in found.sizes:
            shares = sorted((at.shares or {}).items(), key=lambda item: -item[1])
            table.add_row(
                f"{at.stored_bits:.4g}",
                f"{at.k:.3g}" + (" (end)" if at.at_bound else ""),
                "–" if at.ci95 is None else f"{at.ci95[0]:.3g} to {at.ci95[1]:.3g}",
                f"{at.params:.4g}" + (f", {at.extrapolation:.2g}x beyond" if at.extrapolation > 1 else ""),
                f"{at.response:.4f}",
                ", ".join(f"{k}: {share:.0%}" for k, share in shares if share >= 0.005) or "–",
            )
        console.print(table)
        for line in found.reasons:
            console.print(line, markup=False, soft_wrap=True)
        for line in found.assumptions:
            console.print(f"- {line}", markup=False, soft_wrap=True)

    return emit(found.to_dict(), json=json, text=show)
