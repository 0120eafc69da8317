"""`kbit entropy`: how many bits a text has by itself, without a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_MOST_BYTES = 1_000_000


def entropy(
    text: Annotated[list[Path], Parameter(help="Files or folders of text, read as one sequence.")],
    /,
    *,
    unit: Annotated[Literal["byte", "character", "word"], Parameter(help="What a symbol is.")] = "byte",
    rates: Annotated[
        list[str] | None,
        Parameter(name="--rate", consume_multiple=True, help="Estimators of the rate [all]; block-N too."),
    ] = None,
    support: Annotated[
        int | None, Parameter(help="How many different symbols there can be: james-stein and nsb need it.")
    ] = None,
    most_bytes: Annotated[
        int, Parameter(help="Read so much of the text, to the end of a character; 0 for all.")
    ] = DEFAULT_MOST_BYTES,
    json: JsonFlag = False,
) -> int:
    """Entropy of single symbols and entropy rate of a text, by estimators that need no model."""
    from kbit.corpus import read_documents
    from kbit.information.entropy_of_counts import ESTIMATORS
    from kbit.information.entropy_rate import entropy_rate, find_estimator, rate_estimators

    if most_bytes < 0:
        raise UsageError(f"--most-bytes is {most_bytes}; give 0 for all of the text, or a number of bytes.")
    names = rates or [row.name for row in rate_estimators() if row.installed]
    for name in names:
        find_estimator(name)
    whole = "".join(document.text for document in read_documents(text))
    given = len(whole.encode())
    read = whole.encode()[:most_bytes].decode(errors="ignore") if 0 < most_bytes < given else whole
    if not read:
        raise UsageError("the text is empty, so it has no entropy. Give one that is not.")
    found = [entropy_rate(read, name, unit=unit) for name in names]
    data: dict[str, Any] = {
        "unit": unit,
        "bytes": len(read.encode()),
        "bytes_given": given,
        "characters": len(read),
        "symbols": found[0].symbols,
        **_counts(read, unit, ESTIMATORS, support),
        "rates": [
            {
                "estimator": rate.estimator,
                "bits_per_symbol": rate.bits_per_symbol,
                "bits_per_byte": rate.bits_per_byte,
                "ci95": None if rate.low is None else (rate.low, rate.high),
                "warning": rate.warning,
            }
            for rate in found
        ],
    }
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _counts(text: str, unit: Any, estimators: Any, support: int | None) -> dict[str, Any]:
    import numpy as np

    from kbit.information import entropy as entropy_of
    from kbit.information.units import numbered

    _, counts = np.unique(numbered(text, unit), return_counts=True)
    rows = []
    for name, row in estimators.items():
        if row.needs_support and support is None:
            reason = "give --support: how many different symbols there can be"
            rows.append({"estimator": name, "bits_per_symbol": None, "reason": reason})
            continue
        found = entropy_of(counts, name, support=support)
        rows.append(
            {
                "estimator": name,
                "bits_per_symbol": found.bits,
                "ci95": (found.low, found.high),
                "warning": found.warning,
            }
        )
    return {"distinct": len(counts), "counts": rows}


def _draw(console: "Console", data: dict[str, Any]) -> None:
    from rich.table import Table

    console.print(
        f"{data['symbols']:,} {data['unit']}s, {data['distinct']:,} different, in {data['bytes']:,} bytes"
        + (f" (of {data['bytes_given']:,})" if data["bytes"] < data["bytes_given"] else "")
    )
    table = Table("", f"bits/{data['unit']}", "95%")
    for row in data["counts"]:
        value = row["bits_per_symbol"]
        if value is None:
            table.add_row(row["estimator"], "-", row["reason"])
        else:
            table.add_row(row["estimator"], f"{value:.4f}", _interval(row["ci95"]))
    table.add_section()
    for row in data["rates"]:
        value = row["bits_per_symbol"]
        table.add_row(row["estimator"], f"{value:.4f}", _interval(row["ci95"]))
    console.print(table)
    console.print("Above the line: single symbols. Below it: each further symbol, given those before.")
    if data["unit"] != "byte":
        console.print(f"A {data['unit']} is {data['bytes'] / data['symbols']:.3f} bytes on average.")
    said: dict[str, list[str]] = {}
    for row in (*data["counts"], *data["rates"]):
        if row.get("warning"):
            said.setdefault(row["warning"], []).append(row["estimator"])
    for warning, names in said.items():
        console.print(f"[bold]{', '.join(names)}[/]: {warning}")


def _interval(ci95: tuple[float, float] | None) -> str:
    return "-" if ci95 is None else f"{ci95[0]:.4f} to {ci95[1]:.4f}"
