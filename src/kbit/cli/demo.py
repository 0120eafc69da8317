"""`kbit demo`: the whole job on the models that ship with kbit."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.cli.progress import study_progress
from kbit.errors import KbitError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.advise import Advice
    from kbit.report import Composed

PARTLY = 3
KS = (8, 6, 4, 3, 2)
BLOCK = 64
BUDGETS_MIB = (1, 2, 4, 8)  # for models of 0.2 to 6 MiB; the advice of the page opens with the third
OPENS_WITH_MIB = 4


def demo(
    *,
    out: Annotated[Path, Parameter(help="The folder for the store, the page and the pictures.")] = Path(
        "kbit-demo"
    ),
    json: JsonFlag = False,
) -> int:
    """The whole job on the shipped ladder: measure, fit, advise, report. A second run re-uses every row."""
    begun = time.perf_counter()
    formats = best_formats(KS)
    talk(f"Formats, of each k the one nearest to Shannon's bound: {', '.join(formats)}. Reading the texts …")
    import torch

    from kbit.advise import advise
    from kbit.report import compose, save_picture
    from kbit.store import open_store
    from kbit.study import Study, plan, run

    # For layers as small as these a second thread gains nothing, and on a busy machine it costs twentyfold.
    torch.set_num_threads(1)
    study = Study(
        name="demo",
        models=("ladder:*",),
        formats=("bf16", *formats),
        texts=("ladder:held-out",),
        baseline_texts=("ladder:train",),
        file="the demo's study",
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KbitError(f"--out {out} cannot be made: {error.strerror}. Name another folder.") from error
    store = out / "demo.sqlite"
    with open_store(store, create=True) as opened:
        planned = plan(study)
        with study_progress(planned) as on_outcome:
            result = run(planned, opened, on_outcome=on_outcome)
        talk(
            f"{result.done} of {result.total} rows measured, {result.reused} of them before, "
            f"in {result.wall_s:.0f} s. Fitting laws and writing the page …"
        )
        rows = list(opened.rows(study.name))
    made = compose(
        rows,
        out=out / "report.html",
        title="kbit demo: what the shipped ladder knows for each bit it stores",
        memory_gib=OPENS_WITH_MIB / 1024,
    )
    pictures = [
        save_picture(rows, made.laws.fits, out=out / "gain.png", mode="light"),
        save_picture(rows, made.laws.fits, out=out / "gain-dark.png", mode="dark"),
    ]
    context = made.advice.context if made.advice else 0
    budgets = {m: advise(rows, memory_gib=m / 1024, context=context) for m in BUDGETS_MIB} if context else {}
    data = {
        "report": made.report,
        "store": store,
        "advice": made.advice.to_dict() if made.advice else None,
        "advice_by_mib": {str(m): a.to_dict()["choices"] for m, a in budgets.items()},
        "headline": made.headline.sentence,
        "fits": {label: fit.to_dict() for label, fit in made.laws.fits.items()},
        "notes": made.laws.notes,
        "formats": formats,
        "pictures": pictures,
        "total": result.total,
        "done": result.done,
        "failed": result.failed,
        "reused": result.reused,
        "measured": result.measured,
        "wall_s": time.perf_counter() - begun,
    }

    def text(console: "Console") -> None:
        _show(console, made, budgets)
        console.print(f"The page:  {made.report.resolve().as_uri()}", markup=False, soft_wrap=True)
        console.print(f"The rows:  {store}", markup=False, soft_wrap=True)
        console.print(f"{data['wall_s']:.0f} s in all.", style="dim")

    return emit(data, json=json, text=text, exit_code=PARTLY if result.failed else 0)


def best_formats(ks: Iterable[int], *, rows: Iterable[Mapping[str, Any]] | None = None) -> list[str]:
    """Of each k, the format nearest to Shannon's bound on a Gaussian, in blocks of 64.

    Types whose table is made from each model's weights are left to those who ask for them: that of a small
    layer is a good part of what it stores. So are trellis-coded types, which have no fast product. By squared
    error alone a type that stores offsets too would seem better than it is: `distance_bits` compares each
    with what the bound allows for the bits it really takes.

    Args:
        ks: which k.
        rows: as `kbit.formats.listing` gives them.
    """
    from kbit.formats import listing

    known = listing() if rows is None else rows
    table = [
        r
        for r in known
        if r.get("distance_bits") is not None and not r.get("stored_table") and r.get("family") != "tcq"
    ]
    best = (min((r for r in table if r["bits"] == k), key=lambda r: float(r["distance_bits"])) for k in ks)
    return [f"{r['alias'] or r['name']}:b{BLOCK}" for r in best]


def _show(console: "Console", made: "Composed", budgets: Mapping[int, "Advice"]) -> None:
    from rich.table import Table

    points = made.found.of_text(made.text)
    ks = sorted({p.k for p in points}, reverse=True)
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="")
    table.title = f"Gain over {made.found.headline_baseline}, bits per byte"
    table.add_column("model")
    for k in ks:
        table.add_column(f"k = {k:g}", justify="right")
    gains = {(p.model, p.k): p.gain for p in points}
    for model in dict.fromkeys(p.model for p in points):
        shown = [gains.get((model, k)) for k in ks]
        table.add_row(model, *("–" if g is None else f"{g:.4f}" for g in shown))
    console.print(table)
    console.print()
    console.print(made.headline.sentence, markup=False)
    for label, fit in made.laws.fits.items():
        held = fit.held_out
        if held is not None:
            console.print(
                f"{label}: without {', '.join(held.models)} it missed it by {held.mean_absolute_miss:.4f} "
                f"bits per byte ({held.mean_absolute_relative_miss:.1%}).",
                markup=False,
            )
    for note in made.laws.notes:
        console.print(note, markup=False, style="dim")
    for mib, advice in budgets.items():
        if not advice.choices:
            console.print(f"In {mib} MiB with {advice.context} tokens: nothing that was measured fits.")
            continue
        best = advice.choices[0]
        ties = sum(bool(c.tie_with_best) for c in advice.choices[1:])
        also = f", tied with {ties} more" if ties else ""
        fits = f"{best.model} {best.format}, gain {best.gain:.4f}{also}"
        console.print(f"In {mib} MiB with {advice.context} tokens: {fits}.", markup=False)
    console.print()
