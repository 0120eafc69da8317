"""A study that is killed again and again, and studies that run side by side."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from kbit.store import Store, identity, open_store
from kbit.study.planned import status

KILLS = 20


def start(driver: ModuleType, path: Path, work_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(driver.__file__), str(path), str(work_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_exactly_as_planned(store: Store, driver: ModuleType) -> None:
    plan = driver.make_plan()
    progress = status(plan, store)
    assert (progress.total, progress.done, progress.failed) == (len(plan.keys), len(plan.keys), 0)
    rows = list(store.rows(all_versions=True, gains=False))
    assert sorted((r["identity"], r["metric"]) for r in rows) == sorted(plan.keys)
    for task in plan.tasks:
        for row in store.get(task.identity):
            assert identity(row.subject, row.probe) == task.identity
            expected = [driver.figure(task, row.metric, d) for d in task.text.documents]
            assert [part.numerator for part in row.parts] == expected


def test_a_study_killed_twenty_times_ends_with_exactly_its_rows(tmp_path: Path, driver: ModuleType) -> None:
    path = tmp_path / "s.sqlite"
    chance = random.Random(7)
    plan = driver.make_plan()
    work_s = 0.02
    seen = [0]
    for _ in range(KILLS):
        process = start(driver, path, work_s)
        assert process.stdout is not None
        # From before the store is open to some measurements later, and never to the end of the study.
        if chance.random() < 0.8:
            for _ in range(1 + chance.randrange(4)):
                process.stdout.readline()
        time.sleep(chance.uniform(0, 2 * work_s))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if path.exists() and path.stat().st_size:
            with open_store(path, create=True) as store:
                seen.append(status(plan, store).done)
    # The kills fell within the study: it went on from where it was, and was never whole.
    assert seen == sorted(seen)
    assert 0 < seen[-1] < len(plan.keys)
    assert len(set(seen)) > KILLS // 2
    last = start(driver, path, 0)
    assert last.communicate(timeout=60)[0].split()[-1] == "done"
    with open_store(path) as store:
        assert_exactly_as_planned(store, driver)


def test_processes_share_a_study(tmp_path: Path, driver: ModuleType) -> None:
    path = tmp_path / "s.sqlite"
    running = [start(driver, path, 0.005) for _ in range(3)]
    for process in running:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert out.split()[-1] == "done"
    with open_store(path) as store:
        assert_exactly_as_planned(store, driver)
        assert not store.claim("anything", "me")


def test_a_second_process_takes_over_what_a_killed_one_had(tmp_path: Path, driver: ModuleType) -> None:
    path = tmp_path / "s.sqlite"
    first = start(driver, path, 60)  # claims a model and stays at its first measurement
    assert first.stdout is not None
    first.stdout.readline()
    second = start(driver, path, 0)
    assert second.stdout is not None
    second.stdout.readline()
    deadline = time.monotonic() + 30
    plan = driver.make_plan()
    others = len(plan.keys) * (driver.MODELS - 1) // driver.MODELS
    with open_store(path) as store:
        while status(plan, store).done < others and time.monotonic() < deadline:
            time.sleep(0.05)
        # All models but the claimed one are done, and the second process waits for that one.
        assert status(plan, store).done == others
        assert second.poll() is None
        first.send_signal(signal.SIGKILL)
        first.communicate()
        out, errors = second.communicate(timeout=30)
        assert second.returncode == 0, errors
        assert out.split()[-1] == "done"
        assert_exactly_as_planned(store, driver)
