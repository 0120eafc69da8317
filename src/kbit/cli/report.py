"""`kbit report`: one self-contained page from a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def report(
    *,
    store: Annotated[str, Parameter(help="A path, sqlite:///FILE or postgresql://HOST/NAME.")],
    out: Annotated[Path, Parameter(help="The page to write, an .html file.")],
    study: Annotated[str | None, Parameter(help="Which study, where the store holds several.")] = None,
    text: Annotated[str | None, Parameter(help="Which text, where it measured several [the first].")] = None,
    title: Annotated[str | None, Parameter(help="Of the page.")] = None,
    memory_gib: Annotated[
        float | None, Parameter(help="What the advice opens with [the need of the middle choice].")
    ] = None,
    context: Annotated[
        int | None, Parameter(help="In tokens [the longest every model has, up to 2048].")
    ] = None,
    batch: Annotated[int, Parameter(help="Sequences at once.")] = 1,
    kv_bits: Annotated[float, Parameter(help="Bits for each number of the key-value cache.")] = 16.0,
    picture: Annotated[
        Path | None, Parameter(help="Also write the main picture, a .png or .svg file.")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """One self-contained page from a store: charts, laws, advice at any memory, every measurement."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: the page is an .html file. Change the ending.")
    if picture is not None and picture.suffix not in (".png", ".svg"):
        raise UsageError(f"--picture {picture}: a picture is a .png or an .svg file. Change the ending.")
    from kbit.report import compose, one_study, save_picture
    from kbit.store import open_store

    with open_store(store) as opened:
        name = one_study(opened.studies(), study)
        rows = list(opened.rows(name))
    made = compose(
        rows,
        out=out,
        title=title or f"kbit: {name or 'measurements'}",
        text=text,
        memory_gib=memory_gib,
        context=context,
        batch=batch,
        kv_bits=kv_bits,
    )
    if picture is not None:
        save_picture(rows, made.laws.fits, out=picture, text=made.text)
    data = {
        "report": made.report,
        "picture": picture,
        "study": name,
        "text": made.text,
        "size_bytes": made.report.stat().st_size,
        "headline": made.headline.sentence,
        "fits": {label: fit.to_dict() for label, fit in made.laws.fits.items()},
        "notes": made.laws.notes,
        "points": len(made.found.points),
        "missing": len(made.found.missing),
    }

    def show(console: "Console") -> None:
        console.print(made.headline.sentence, markup=False)
        for note in made.laws.notes:
            console.print(note, markup=False, style="dim")
        if made.found.missing:
            console.print(f"{len(made.found.missing)} measurements have no figure; the page says why.")
        console.print(f"The page: {made.report.resolve().as_uri()}", markup=False, soft_wrap=True)

    return emit(data, json=json, text=show)
