"""`kbit study`: plan, run, status, export."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.cli.progress import study_progress
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.store import Store
    from kbit.study import Study

PARTLY = 3

StudyFile = Annotated[Path, Parameter(help="The study, a TOML file.")]
StoreUrl = Annotated[str, Parameter(name="--store", help="A path, sqlite:///FILE or postgresql://HOST/NAME.")]


def plan(
    study: StudyFile,
    *,
    store: Annotated[
        str | None, Parameter(name="--store", help="Count what this store holds already.")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Count what a study would measure, before a weight is loaded."""
    from kbit.study import plan as make_plan
    from kbit.study import read_study
    from kbit.study import status as status_in
    from kbit.study.memory import MIB

    planned = make_plan(read_study(study))
    with _existing(store) as opened:
        progress = status_in(planned, opened)
    data: dict[str, Any] = {
        "study": planned.study.name,
        "measurements": len(planned.tasks),
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "texts": [
            {"name": t.name, "documents": len(t.documents), "bytes": t.bytes, "hash": t.hash}
            for t in planned.texts
        ],
        "text_bytes": sum(t.bytes for t in planned.texts),
        "bytes_to_read": sum(task.text.bytes for task in planned.tasks),
        "subjects": list(planned.subjects),
        "peak_memory_bytes": max((s.peak_memory_bytes for s in planned.subjects), default=None),
        "largest_stored_bytes": max((s.stored_bytes for s in planned.subjects), default=None),
    }

    def text(console: "Console") -> None:
        from rich.table import Table

        table = Table(title=f"study {planned.study.name}")
        for column in ("model", "format", "method"):
            table.add_column(column)
        for column in ("parameters", "bytes", "bits/weight", "peak MiB"):
            table.add_column(column, justify="right")
        for s in planned.subjects:
            table.add_row(
                s.model,
                s.format,
                s.method or "",
                f"{s.parameters:,}",
                f"{s.stored_bytes:,}",
                "" if s.body_bits_per_weight is None else f"{s.body_bits_per_weight:.3f}",
                f"{s.peak_memory_bytes / MIB:,.1f}",
            )
        console.print(table)
        for t in planned.texts:
            console.print(f"text {t.name}: {len(t.documents):,} documents, {t.bytes:,} bytes")
        console.print(
            f"{len(planned.tasks)} measurements giving {progress.total} rows: "
            f"{progress.done} done, {progress.failed} failed, "
            f"{progress.total - progress.done - progress.failed} to do."
        )

    return emit(data, json=json, text=text)


def run(
    study: StudyFile,
    *,
    store: StoreUrl,
    limit: Annotated[int | None, Parameter(help="Stop after this many measurements.")] = None,
    retry_failed: Annotated[bool, Parameter(negative=(), help="Measure again what failed before.")] = False,
    json: JsonFlag = False,
) -> int:
    """Measure what is not in the store yet; can be stopped in any way and called again."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: give the most measurements to make, at least 1.")
    from kbit.store import open_store
    from kbit.study import plan as make_plan
    from kbit.study import read_study
    from kbit.study import run as run_plan

    chosen: Study = read_study(study)
    # The store first: a path that cannot be one is told at once, not after the texts have been read.
    with open_store(store, create=True) as opened:
        planned = make_plan(chosen)
        with study_progress(planned) as on_outcome:
            result = run_plan(planned, opened, limit=limit, retry_failed=retry_failed, on_outcome=on_outcome)
    data = {
        "study": planned.study.name,
        "store": store,
        "total": result.total,
        "done": result.done,
        "failed": result.failed,
        "measured": result.measured,
        "reused": result.reused,
        "wall_s": result.wall_s,
    }

    def text(console: "Console") -> None:
        console.print(
            f"{result.done} of {result.total} rows done ({result.measured} written now, "
            f"{result.reused} there before), {result.failed} failed, in {result.wall_s:.1f} s."
        )

    return emit(data, json=json, text=text, exit_code=PARTLY if result.failed else 0)


def status(study: StudyFile, *, store: StoreUrl, json: JsonFlag = False) -> int:
    """How many of the planned rows are in the store, and why others failed."""
    from kbit.store import open_store
    from kbit.study import failures, read_study
    from kbit.study import plan as make_plan
    from kbit.study import status as status_in

    chosen = read_study(study)
    with open_store(store) as opened:
        planned = make_plan(chosen)
        progress = status_in(planned, opened)
        failed = failures(planned, opened)
    data = {
        "study": planned.study.name,
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "failures": failed,
    }

    def text(console: "Console") -> None:
        left = progress.total - progress.done - progress.failed
        console.print(
            f"{progress.done} of {progress.total} rows done, {progress.failed} failed, {left} to do."
        )
        for failure in failed:
            console.print(f"{failure['label']}: {failure['status']}: {failure['reason']}", markup=False)

    return emit(data, json=json, text=text)


def export(
    study: StudyFile,
    *,
    store: StoreUrl,
    out: Annotated[Path | None, Parameter(help="The file to write; without it rows go to stdout.")] = None,
    format: Annotated[  # noqa: A002
        str | None, Parameter(help="csv, parquet or json; by default what the file's ending says.")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Write the study's rows, with gains over the headline baseline."""
    from kbit.store import open_store
    from kbit.study import export as write
    from kbit.study import format_of, read_study, to_csv

    form = format_of(out, format)
    if form == "parquet" and out is None:
        raise UsageError("--format parquet needs --out FILE: Parquet is not for a terminal.")
    chosen = read_study(study)
    with open_store(store) as opened:
        rows = list(opened.rows(chosen.name))
    if out is not None:
        write(rows, out, format=form)
    data = {"study": chosen.name, "out": out, "rows": rows}

    def text(console: "Console") -> None:
        if out is not None:
            talk(f"{len(rows)} rows written to {out}.")
        elif form == "json":
            emit({"rows": rows}, json=True, text=text)
        else:
            sys.stdout.write(to_csv(rows).decode())

    return emit(data, json=json, text=text)


@contextmanager
def _existing(store: str | None) -> "Iterator[Store | None]":
    """The store if one is named and there; a plan may come before its store."""
    from kbit.store import open_store

    is_path = store is not None and "://" not in store
    if store is None or (is_path and not Path(store).exists()):
        yield None
        return
    with open_store(store) as opened:
        yield opened
