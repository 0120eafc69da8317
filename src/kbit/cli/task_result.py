"""What `kbit task` shows of a task: JSON and tables."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.information.estimate import Estimate
    from kbit.tasks.judge import Figure
    from kbit.tasks.run import Ran
    from kbit.tasks.task import Task


def result(task: "Task", ran: "Ran", language: str) -> dict[str, Any]:
    """A task's figures as JSON."""
    judged = ran.judged
    rows = {metric.name: metric for metric in task.metrics}
    return {
        "task": task.name,
        "language": language,
        "items": len(ran.items),
        "cut": ran.cut,
        "metrics": {
            name: {
                **_figure(figure),
                "unit": rows[name].unit,
                "higher_is_better": rows[name].higher_is_better,
                "signature": rows[name].signature(ran.items, language) or None,
                "baselines": {
                    other: _figure(figures[name])
                    | {"difference": _estimate(judged.differences[other].get(name))}
                    for other, figures in judged.baselines.items()
                },
            }
            for name, figure in judged.figures.items()
        },
        "groups": {
            group: {name: _figure(figure) for name, figure in figures.items()}
            for group, figures in judged.groups.items()
        },
        "classes": list(judged.classes) or None,
        "confusion": judged.confusion,
        **ran.told,
    }


def _figure(figure: "Figure") -> dict[str, Any]:
    if figure.estimate is None:
        return {"value": None, "ci95": None, "reason": figure.reason}
    return _estimate(figure.estimate) or {}


def _estimate(found: "Estimate | None") -> dict[str, Any] | None:
    if found is None:
        return None
    told = {"value": found.value, "ci95": found.ci95}
    return told if found.reason is None else told | {"reason": found.reason}


def draw(console: "Console", out: Mapping[str, Any]) -> None:
    """The same for a person."""
    from rich.table import Table

    console.print(
        f"{out['task']}: {out['items']:,} items, language {out['language']}"
        + (f", {out['cut']} prompts cut" if out["cut"] else "")
        + (f", {out['dropped']} bad records left out" if out.get("dropped") else ""),
        markup=False,
    )
    baselines = list(next(iter(out["metrics"].values()))["baselines"])
    table = Table("metric", "model", *baselines, box=None, pad_edge=False)
    for name, row in out["metrics"].items():
        cells = [_cell(row["baselines"][other]) for other in baselines]
        table.add_row(f"{name} ({row['unit']})", _cell(row), *cells)
    console.print(table)
    _draw_groups(console, out)
    if out["confusion"]:
        console.print("rows: the right class; columns: the one taken")
        table = Table("", *out["classes"], box=None, pad_edge=False)
        for name, counts in zip(out["classes"], out["confusion"], strict=True):
            table.add_row(name, *(f"{count:,}" for count in counts))
        console.print(table)
    for topic in out.get("topics", []):
        labels = ", ".join(f"{label} {count}" for label, count in topic["labels"].items())
        console.print(
            f"{topic['texts']:>6} texts: {', '.join(topic['words'])}" + (f" ({labels})" if labels else ""),
            markup=False,
        )
    for name, row in out["metrics"].items():
        if row["signature"]:
            console.print(f"{name}: {row['signature']}", style="dim", markup=False)
        if row.get("reason") and row["value"] is None:
            console.print(f"{name}: {row['reason']}", style="dim", markup=False)
    if "predictions" in out:
        console.print(f"answers in {out['predictions']}", style="dim", markup=False)


def _draw_groups(console: "Console", out: Mapping[str, Any]) -> None:
    from rich.table import Table

    if not out["groups"]:
        return
    names = list(out["metrics"])
    table = Table("group", *names, box=None, pad_edge=False)
    for group, figures in out["groups"].items():
        table.add_row(group, *(_cell(figures[name]) for name in names))
    console.print(table)


def _cell(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    low_high = figure["ci95"]
    interval = "" if low_high is None else f" ({low_high[0]:.4g} to {low_high[1]:.4g})"
    return f"{figure['value']:.4g}{interval}"
