"""Baselines as subjects: each is measured once for each text."""

from collections.abc import Sequence

from kbit.coders.registry import find_coder
from kbit.errors import StudyError, UsageError
from kbit.store import Labels, Probe, Subject
from kbit.study.study import Study
from kbit.study.task import ALGORITHM, TEXT_METRICS, CoderSource, Task
from kbit.study.texts import Text


def baseline_tasks(study: Study, texts: Sequence[Text], fitted_on: Text | None) -> list[Task]:
    """The baselines of a study on each of its texts.

    A baseline that must be fitted is left out where the study names no text to fit it on.

    Raises:
        StudyError: there is no such baseline.
    """
    tasks = []
    for name in study.baselines:
        try:
            row = find_coder(name)
        except UsageError as error:
            raise StudyError(f"{study.file}: {error}") from error
        if row.needs_baseline_text and fitted_on is None:
            continue
        source = CoderSource(name=row.name, text=fitted_on if row.needs_baseline_text else None)
        subject = Subject(
            kind="coder",
            content=source.text.hash if source.text else None,
            coder=row.name,
            algorithm={"coder": row.version},
            labels=Labels(name=row.name),
        )
        tasks += [
            Task(
                subject=subject,
                probe=Probe(kind="text", text=text.hash, algorithm=ALGORITHM, text_name=text.name),
                metrics=TEXT_METRICS,
                source=source,
                text=text,
                group=f"coder {row.name} {subject.content}",
            )
            for text in texts
        ]
    return tasks
