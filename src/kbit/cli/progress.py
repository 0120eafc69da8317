"""Progress of a study on the terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kbit.cli.output import talk

if TYPE_CHECKING:
    from kbit.study import Outcome, Plan


@contextmanager
def study_progress(planned: "Plan") -> Iterator[Callable[["Outcome"], None] | None]:
    """A bar on stderr if that is a terminal; failures are told either way."""

    def tell_failure(outcome: "Outcome") -> None:
        if outcome.error is not None:
            talk(f"{outcome.task.label}: {outcome.error}")

    if not sys.stderr.isatty():
        yield tell_failure
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(planned.study.name, total=len(planned.tasks))

        def on_outcome(outcome: "Outcome") -> None:
            if outcome.error is not None:
                bar.console.print(f"{outcome.task.label}: {outcome.error}", markup=False)
            bar.update(row, advance=1, description=outcome.task.label)

        yield on_outcome
