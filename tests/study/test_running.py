import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kbit.errors import CoderError
from kbit.store import Costs, Store, open_store
from kbit.study import Outcome, Task, failures, in_this_process, run, status
from kbit.study.running import attempt


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.sqlite", create=True) as opened:
        yield opened


def test_a_second_run_measures_nothing(driver: ModuleType, store: Store) -> None:
    plan = driver.make_plan()
    first = run(plan, store, measure=driver.measure)
    assert (first.total, first.done, first.measured, first.reused) == (104, 104, 104, 0)

    def never(task: Task) -> None:
        raise AssertionError(task.label)

    second = run(plan, store, measure=never)
    assert (second.done, second.failed, second.measured, second.reused) == (104, 0, 0, 104)


def test_a_failure_is_recorded_and_the_rest_goes_on(driver: ModuleType, store: Store) -> None:
    plan = driver.make_plan()
    broken, unwanted = plan.tasks[3], plan.tasks[10]

    def measure(task: Task) -> object:
        if task is broken:
            raise ZeroDivisionError("division by zero")
        if task is unwanted:
            raise CoderError("no prefix")
        return driver.measure(task)

    told: list[Outcome] = []
    result = run(plan, store, measure=measure, on_outcome=told.append)
    lost = len(broken.metrics) + len(unwanted.metrics)
    assert (result.done, result.failed, result.total) == (104 - lost, lost, 104)
    assert len(told) == len(plan.tasks)
    (row, *_) = store.get(broken.identity)
    assert (row.status, row.reason, row.numerator) == ("failed", "ZeroDivisionError: division by zero", None)
    assert {r.status for r in store.get(unwanted.identity)} == {"refused"}
    assert [f["reason"] for f in failures(plan, store)] == [
        "ZeroDivisionError: division by zero",
        "no prefix",
    ]
    # Only asked for is it tried again, and then it can heal.
    assert run(plan, store, measure=driver.measure).measured == 0
    healed = run(plan, store, measure=driver.measure, retry_failed=True)
    assert (healed.measured, healed.done, healed.failed) == (lost, 104, 0)


def test_a_changed_algorithm_version_measures_again_and_keeps_the_old(
    driver: ModuleType, store: Store
) -> None:
    run(driver.make_plan(version=1), store, measure=driver.measure)
    newer = driver.make_plan(version=2)
    assert status(newer, store).done == 0
    assert run(newer, store, measure=driver.measure).measured == 104
    current = list(store.rows(gains=False))
    assert len(current) == 104
    assert {row["algorithm"] for row in current} == {json.dumps({"measurement": 2})}
    assert len(list(store.rows(gains=False, all_versions=True))) == 208
    assert {row["identity"] for row in store.rows("driver", gains=False)} == {t.identity for t in newer.tasks}


def test_limit(driver: ModuleType, store: Store) -> None:
    plan, measured = driver.make_plan(), []

    def measure(task: Task) -> object:
        measured.append(task.identity)
        return driver.measure(task)

    for _ in range(4):
        run(plan, store, measure=measure, limit=25)
    assert len(measured) == len(set(measured)) == len(plan.tasks) == 72
    assert status(plan, store).done == 104


def test_an_interruption_keeps_what_is_done_and_gives_claims_back(driver: ModuleType, store: Store) -> None:
    plan = driver.make_plan()

    def measure(task: Task) -> object:
        if task is plan.tasks[5]:
            raise KeyboardInterrupt
        return driver.measure(task)

    with pytest.raises(KeyboardInterrupt):
        run(plan, store, measure=measure)
    assert status(plan, store).done == sum(len(t.metrics) for t in plan.tasks[:5])
    assert store.claim(plan.tasks[5].group, "another:1:1") is None


def test_a_measurement_that_is_no_number_fails(driver: ModuleType, store: Store) -> None:
    plan = driver.make_plan()
    plan = replace(plan, tasks=plan.tasks[:1])

    def measure(task: Task) -> object:
        good = driver.measure(task)
        parts = [replace(p, numerator=float("nan")) for p in good.parts["bits_per_byte"]]
        return replace(good, parts={"bits_per_byte": parts})

    assert run(plan, store, measure=measure).failed == 1
    assert "not a finite number" in str(failures(plan, store)[0]["reason"])


def test_a_metric_that_is_missing_fails(driver: ModuleType) -> None:
    plan = driver.make_plan()
    outcome = attempt(plan.tasks[0], lambda task: replace(driver.measure(task), parts={}))
    assert isinstance(outcome.error, KeyError)


def test_another_executor_may_take_groups_in_any_order(driver: ModuleType, store: Store) -> None:
    plan = driver.make_plan()

    def backwards(groups: Iterable[Sequence[Task]], measure: object) -> Iterator[Outcome]:
        outcomes = list(in_this_process(groups, measure))  # type: ignore[arg-type]
        yield from reversed(outcomes)

    assert run(plan, store, measure=driver.measure, executor=backwards).done == 104


def test_costs_and_versions_are_in_the_row(driver: ModuleType, store: Store) -> None:
    plan = driver.make_plan()

    def measure(task: Task) -> object:
        return replace(driver.measure(task), costs=Costs(wall_s=2.5, threads=3, device="cpu"))

    run(plan, store, measure=measure, limit=1)
    (row,) = store.rows(gains=False)
    assert (row["wall_s"], row["threads"], row["device"], row["peak_memory_bytes"]) == (2.5, 3, "cpu", None)
    assert {"kbit", "torch"} <= set(json.loads(row["versions"]))


def test_running_a_fake_needs_no_torch() -> None:
    code = "import sys, kbit.study.running, kbit.study.study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
