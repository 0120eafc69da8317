"""`kbit ls`: what there is, one row each, from the table of the room that owns it."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

# noun -> modules whose listing() has the rows, columns shown in a terminal, what is said of an empty list
NOUNS: dict[str, tuple[str | tuple[str, ...], tuple[str, ...], str]] = {
    "formats": (
        "kbit.formats",
        ("name", "example", "bits", "bits_per_weight", "gaussian_mse", "shannon_mse", "distance_bits"),
        "There are no formats.",
    ),
    "methods": ("kbit.quantize", ("name", "what", "source"), "There are no methods yet."),
    "laws": ("kbit.laws", ("name", "title", "formula"), "There are no laws yet."),
    "coders": ("kbit.coders", ("name", "what", "headline"), "There are no coders yet."),
    "models": (
        "kbit.ladder",
        ("name", "parameters", "body_parameters", "format", "path"),
        "No models ship with this kbit. Give folders: kbit ls models PATH.",
    ),
    "tasks": ("kbit.tasks", ("name", "what"), "There are no tasks."),
    "data": (
        ("kbit.ladder.texts", "kbit.laws.published"),
        ("name", "what", "licence"),
        "No data ships with this version of kbit yet.",
    ),
}


def ls(
    noun: Annotated[str, Parameter(help="formats, methods, laws, coders, models, tasks or data.")],
    path: Annotated[
        list[Path] | None, Parameter(help="For models: folders to look below, beside what ships with kbit.")
    ] = None,
    /,
    *,
    json: JsonFlag = False,
) -> int:
    """List formats, methods, laws, coders, models, tasks or data."""
    if noun not in NOUNS:
        raise UsageError(f"there is no list of {noun!r}: {did_you_mean(noun, NOUNS)}")
    if path and noun != "models":
        raise UsageError(f"kbit ls {noun} takes no path; only `kbit ls models PATH` does.")
    modules, columns, nothing = NOUNS[noun]
    rows = [r for m in ([modules] if isinstance(modules, str) else modules) for r in _listing(m)]
    for place in path or ():
        rows += _models_below(place)

    def text(console: "Console") -> None:
        if not rows:
            console.print(nothing)
            return
        _show(console, rows, columns)

    return emit({"rows": rows, "note": None if rows else nothing}, json=json, text=text)


def _listing(module: str) -> list[dict[str, Any]]:
    """The rows of a room; none where it has no table yet."""
    try:
        room = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the room is there, something it needs is not
        return []
    return [dict(row) for row in room.listing()] if hasattr(room, "listing") else []


def _models_below(place: Path) -> list[dict[str, Any]]:
    """Model folders below a folder, itself included."""
    if not place.is_dir():
        raise UsageError(f"{place} is no folder. Give a folder that holds models.")
    from kbit.models import open_model

    rows = []
    for config in sorted(place.rglob("config.json")):
        folder = open_model(config.parent)
        formats = sorted({str(record.format) for record in folder.records.values()})
        rows.append(
            {
                "name": config.parent.name,
                "path": str(config.parent),
                "parameters": folder.parameters,
                "body_parameters": folder.body_parameters,
                "format": ", ".join(formats) or None,
            }
        )
    return rows


def _show(console: "Console", rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    known = [c for c in columns if any(c in row for row in rows)]
    numbers = {
        c for c in known if any(isinstance(r.get(c), int | float) and r.get(c) is not True for r in rows)
    }
    for column in known:
        heading = column.replace("_", " ")
        table.add_column(heading, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(c))) for c in known))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
