"""`kbit frontier`: which k is best at equal stored bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.cli.rows import Columns, StoreUrl, StudyName, TextName, Where, pairs, table_from
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def frontier(
    *,
    data: Annotated[Path | None, Parameter(help="A CSV, Parquet or JSON file.")] = None,
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
    json: JsonFlag = False,
) -> int:
    """Tell which k is best at equal stored bits, for each family and size."""
    from kbit.advise import frontier as compare
    from kbit.advise.points import points_from_gains, points_from_table

    roles = pairs(column, option="--column")
    rows = table_from(data, store, study=study, where=where)
    if store is not None:
        if roles or block is not None:
            raise UsageError("--column and --block are for --data; a store's columns are known.")
        found = points_from_gains(rows, text=text)
    else:
        found = points_from_table(rows, columns=roles, better=better, block=block)
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
        pareto = Table(title="not beaten in as few bits", box=None)
        for name in ("model", "k", "stored bits", "value"):
            pareto.add_column(name, justify="left" if name == "model" else "right")
        for point in result.pareto:
            pareto.add_row(point.model, point.label, f"{point.stored_bits:.4g}", f"{point.value:.4f}")
        console.print(pareto)
        for line in answer["assumptions"]:
            console.print(f"- {line}", markup=False, soft_wrap=True)

    return emit(answer, json=json, text=show)
