"""Carry a plan out: measure what the store does not hold, one transaction a measurement."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from kbit.errors import KbitError
from kbit.store import Measurement, Store
from kbit.store.owner import this_process
from kbit.study.planned import Plan, status
from kbit.study.task import Measured, Outcome, Task

Measure = Callable[[Task], Measured]
# Carries groups of tasks out in any order and anywhere, and gives back what became of each task. It takes
# groups as it has hands free: a group is claimed when it is taken.
Executor = Callable[[Iterable[Sequence[Task]], Measure], Iterator[Outcome]]
PACKAGES = ("kbit", "torch", "transformers", "tokenizers", "numpy")
POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What a run did, and how far the study is after it.

    Attributes:
        total, done, failed: rows of the whole plan.
        measured: rows this run wrote; `reused` those that were there and ok when it began.
    """

    total: int
    done: int
    failed: int
    measured: int
    reused: int
    wall_s: float


def run(
    plan: Plan,
    store: Store,
    *,
    measure: Measure | None = None,
    executor: Executor | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> RunResult:
    """Measure what is planned and not in the store.

    It can be stopped at any moment, in any way, and called again: each measurement is one transaction, and
    only those that are missing are made. Several processes may run one study at a time: each takes models
    that no other has. A measurement that fails is recorded with its reason, and the rest goes on.

    Args:
        plan: what to measure.
        store: where rows go.
        measure: how a task is carried out; by default models are loaded and measured here.
        executor: where tasks are carried out; by default in this process, one after the other.
        limit: stop after so many measurements.
        retry_failed: measure again what is recorded as failed or refused.
        on_outcome: told of each measurement when it is in the store.
    """
    begun = time.perf_counter()
    store.set_planned(plan.study.name, plan.keys)
    before = status(plan, store).done
    queue = _Queue(plan.tasks, store, limit=limit, retry_failed=retry_failed)
    written = 0
    try:
        with _measurer(measure) as measure_task:
            for outcome in (executor or in_this_process)(queue, measure_task):
                written += store.put(measurements_of(outcome))
                queue.finished(outcome.task)
                if on_outcome is not None:
                    on_outcome(outcome)
    finally:
        queue.release_all()
    after = status(plan, store)
    return RunResult(
        total=after.total,
        done=after.done,
        failed=after.failed,
        measured=written,
        reused=before,
        wall_s=time.perf_counter() - begun,
    )


def in_this_process(groups: Iterable[Sequence[Task]], measure: Measure) -> Iterator[Outcome]:
    """The executor for one machine: each task in turn."""
    for tasks in groups:
        for task in tasks:
            yield attempt(task, measure)


def attempt(task: Task, measure: Measure) -> Outcome:
    """Carry a task out; an error becomes an outcome, an interruption does not."""
    try:
        return Outcome(task=task, measured=_checked(task, measure(task)))
    except Exception as error:  # whatever one measurement dies of, the others go on
        return Outcome(task=task, error=error)


def measurements_of(outcome: Outcome) -> list[Measurement]:
    """The rows of an outcome: one a metric, with figures or with the reason why there are none."""
    task, versions = outcome.task, package_versions()
    if outcome.measured is None:
        error = outcome.error or RuntimeError("no outcome")
        # What kbit says no to would be refused again; anything else broke.
        refused = isinstance(error, KbitError)
        reason = str(error) if refused else f"{type(error).__name__}: {error}"
        return [
            Measurement(
                subject=task.subject,
                probe=task.probe,
                metric=metric,
                status="refused" if refused else "failed",
                reason=reason.strip() or type(error).__name__,
                versions=versions,
            )
            for metric in task.metrics
        ]
    return [
        Measurement(
            subject=task.subject,
            probe=task.probe,
            metric=metric,
            numerator=math.fsum(part.numerator for part in outcome.measured.parts[metric]),
            denominator=math.fsum(part.denominator for part in outcome.measured.parts[metric]),
            parts=tuple(outcome.measured.parts[metric]),
            costs=outcome.measured.costs,
            versions=versions,
        )
        for metric in task.metrics
    ]


def package_versions() -> dict[str, str]:
    """Versions of the packages a figure may depend on; one that is not installed is left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _checked(task: Task, measured: Measured) -> Measured:
    for metric in task.metrics:
        parts = measured.parts[metric]
        wrong = next((p for p in parts if not math.isfinite(p.numerator + p.denominator)), None)
        if wrong is not None:
            raise ArithmeticError(f"{metric} of document {wrong.document!r} is not a finite number")
    return measured


def _measurer(measure: Measure | None) -> contextlib.AbstractContextManager[Measure]:
    if measure is not None:
        return contextlib.nullcontext(measure)
    from kbit.study.measure import Measurer

    return Measurer()


class _Queue:
    """Groups of tasks still to be done, each claimed when it is taken and given back when it is finished."""

    def __init__(self, tasks: Iterable[Task], store: Store, *, limit: int | None, retry_failed: bool) -> None:
        self._store = store
        self._owner = this_process()
        self._left = limit
        self._retry = {"failed", "refused"} if retry_failed else set()
        self._open: Counter[str] = Counter()
        self._groups: dict[str, list[Task]] = {}
        for task in tasks:
            self._groups.setdefault(task.group, []).append(task)

    def __iter__(self) -> Iterator[Sequence[Task]]:
        waiting = list(self._groups)
        while waiting and self._left != 0:
            held = []
            for group in waiting:
                tasks = self._claimed(group)
                if tasks is None:
                    held.append(group)
                    continue
                if tasks:
                    yield tasks
                if self._left == 0:
                    return
            if held and len(held) == len(waiting):
                time.sleep(POLL_S)
            waiting = held

    def finished(self, task: Task) -> None:
        """Note that a task is in the store."""
        self._open[task.group] -= 1
        if not self._open[task.group]:
            self._release(task.group)
        else:
            self._store.claim(task.group, self._owner)  # the lease begins anew

    def release_all(self) -> None:
        """Give back what is still claimed."""
        for group in list(self._open):
            self._release(group)

    def _release(self, group: str) -> None:
        del self._open[group]
        self._store.release(group, self._owner)

    def _claimed(self, group: str) -> list[Task] | None:
        """Tasks of a group still to be done, claimed; empty if there are none, None if another has it."""
        if not self._pending(group):
            return []
        if self._store.claim(group, self._owner) is not None:
            return None
        # Another process may have done some between the look and the claim.
        tasks = self._pending(group)[: self._left]
        if not tasks:
            self._store.release(group, self._owner)
            return []
        if self._left is not None:
            self._left -= len(tasks)
        self._open[group] = len(tasks)
        return tasks

    def _pending(self, group: str) -> list[Task]:
        tasks = self._groups[group]
        states = self._store.states(task.identity for task in tasks)
        return [
            task
            for task in tasks
            if any(states.get(key) is None or states[key] in self._retry for key in task.keys)
        ]
