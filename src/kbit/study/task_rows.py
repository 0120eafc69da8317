"""Figures of a task as measurements: of the model, and of each trivial baseline beside it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kbit.store import Costs, Labels, Measurement, Part, Probe, Subject
from kbit.study.running import package_versions
from kbit.tasks.item import Item, items_hash
from kbit.tasks.judge import Figure
from kbit.tasks.run import ALGORITHM, Ran
from kbit.tasks.task import Task

BASELINE_VERSION = 1


def task_measurements(
    task: Task,
    ran: Ran,
    subject: Subject,
    *,
    data_name: str,
    language: str,
    settings: Mapping[str, Any],
    costs: Costs,
) -> list[Measurement]:
    """Rows of a store; metrics are called `TASK.METRIC`.

    Args:
        task: that was carried out.
        ran: what came of it.
        subject: the model.
        data_name: what people call the items.
        language: of the answers.
        settings: of the asking, all that changes a figure.
        costs: of the model's answers.
    """
    probe = Probe(
        kind="task",
        text=items_hash(ran.items),
        settings={**settings, "language": language},
        algorithm=ALGORITHM | {"task": task.version},
        text_name=data_name,
    )
    signatures = {m.name: m.signature(ran.items, language) for m in task.metrics}
    rows = _rows(task, ran.items, ran.judged.figures, subject, probe, signatures, costs)
    for name, figures in ran.judged.baselines.items():
        beside = Subject(
            kind="coder",
            content=None,
            coder=name,
            algorithm={"task-baseline": BASELINE_VERSION},
            labels=Labels(name=name),
        )
        rows += _rows(task, ran.items, figures, beside, probe, signatures, Costs())
    return rows


def _rows(
    task: Task,
    items: Sequence[Item],
    figures: Mapping[str, Figure],
    subject: Subject,
    probe: Probe,
    signatures: Mapping[str, str],
    costs: Costs,
) -> list[Measurement]:
    found = []
    versions = package_versions()
    for name, figure in figures.items():
        metric = f"{task.name}.{name}"
        told = versions | ({"signature": signatures[name]} if signatures[name] else {})
        if figure.estimate is None:
            found.append(
                Measurement(
                    subject=subject, probe=probe, metric=metric, status="refused", reason=figure.reason
                )
            )
            continue
        parts = tuple(
            Part(
                document=item.name,
                numerator=numerator,
                denominator=denominator,
                bytes=item.document.bytes,
                characters=item.document.characters,
            )
            for item, (numerator, denominator) in zip(items, figure.parts, strict=True)
        )
        found.append(
            Measurement(
                subject=subject,
                probe=probe,
                metric=metric,
                numerator=math.fsum(part.numerator for part in parts),
                denominator=math.fsum(part.denominator for part in parts),
                parts=parts,
                costs=costs,
                versions=told,
            )
        )
    return found
