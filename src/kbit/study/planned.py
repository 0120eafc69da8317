"""A plan, and how far it is."""

from dataclasses import dataclass

from kbit.store import Store
from kbit.study.study import Study
from kbit.study.task import SubjectPlan, Task
from kbit.study.texts import Text

OK, NOT_OK = "ok", frozenset({"failed", "refused"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The tasks of a study, in the order they are best done."""

    study: Study
    tasks: tuple[Task, ...]
    subjects: tuple[SubjectPlan, ...]
    texts: tuple[Text, ...]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The rows the study consists of, as identity and metric."""
        return [key for task in self.tasks for key in task.keys]


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a study is, in rows; `failed` counts refused ones too."""

    total: int
    done: int
    failed: int


def status(planned: Plan, store: Store | None) -> Progress:
    """How many of the planned rows are in a store, and how many of them failed; without a store, none."""
    states = store.states(task.identity for task in planned.tasks) if store else {}
    found = [states.get(key) for key in planned.keys]
    return Progress(total=len(found), done=found.count(OK), failed=sum(state in NOT_OK for state in found))


def failures(planned: Plan, store: Store) -> list[dict[str, str | None]]:
    """The measurements of a plan that failed or were refused: `label`, `status` and `reason`."""
    states = store.states(task.identity for task in planned.tasks)
    return [
        {"label": task.label, "status": row.status, "reason": row.reason}
        for task in planned.tasks
        if any(states.get(key) in NOT_OK for key in task.keys)
        for row in store.get(task.identity)[:1]
    ]
