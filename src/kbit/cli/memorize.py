"""`kbit memorize`: how many bits a model holds, at 16 and at k bits a weight."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def memorize(
    recipe: Annotated[Path, Parameter(help="A TOML file, such as recipes/memorization.toml.")],
    *,
    out: Annotated[Path | None, Parameter(help="Where results are kept [runs/NAME].")] = None,
    threads: Annotated[int | None, Parameter(help="Threads [the cores].")] = None,
    json: JsonFlag = False,
) -> int:
    """Train models on random tokens and count the bits they remember. Finished trainings are kept."""
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; give at least 1.")
    from dataclasses import asdict

    import torch

    from kbit.training import capacity, read_probe
    from kbit.training import memorize as probe

    wanted = read_probe(recipe)
    if threads is not None:
        torch.set_num_threads(threads)
    folder = Path("runs") / wanted.name if out is None else out
    rows = probe(wanted, folder, report=_tell)
    full = [
        asdict(row)
        | {"bits_per_parameter": row.bits_per_parameter, "bits_per_stored_bit": row.bits_per_stored_bit}
        for row in rows
    ]
    most = {(row.model, row.format): row.sequences for row in capacity(rows)}
    for row in full:
        row["most"] = most[row["model"], row["format"]] == row["sequences"]
    data = {"recipe": wanted.name, "out": folder, "rows": full}
    return emit(data, json=json, text=lambda console: _draw(console, full))


def _tell(name: str, step: int, steps: int, loss_bits: float) -> None:
    if (step + 1) % max(1, steps // 5) == 0 or (sys.stderr.isatty() and (step + 1) % 100 == 0):
        talk(f"{name} sequences: step {step + 1} of {steps}, {loss_bits:.3f} bits a token")


def _draw(console: "Console", rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("model", "format", box=None, header_style="bold", pad_edge=False)
    for column in ("parameters", "sequences", "memorised bits", "a parameter", "a stored bit", ""):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["model"],
            row["format"],
            f"{row['parameters']:,}",
            f"{row['sequences']:,}",
            f"{row['memorized_bits']:,.0f}",
            f"{row['bits_per_parameter']:.2f}",
            f"{row['bits_per_stored_bit']:.3f}",
            "the most" if row["most"] else "",
        )
    console.print(table)
