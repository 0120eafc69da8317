"""Programs are stopped by time, memory and size, and see nothing of ours."""

import time

import pytest

from kbit.tasks.programs import Limits, program_of, run_program

QUICK = Limits(seconds=1, memory_mib=256)


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("assert 1 + 1 == 2", "passed"),
        ("assert 1 + 1 == 3", "failed"),
        ("def broken(:", "failed"),
        ("x = bytearray(1 << 30)", "failed"),
        ("open('big', 'wb').write(bytes(1 << 22))", "failed"),
        ("import sys; sys.exit(3)", "failed"),
        ("import os; assert 'KBIT_SECRET' not in os.environ and os.listdir() == ['program.py']", "passed"),
        ("import numpy", "failed"),  # no site packages
        ("assert input() == ''", "failed"),  # nothing to read
    ],
)
def test_outcomes(source, outcome, monkeypatch):
    monkeypatch.setenv("KBIT_SECRET", "x")
    assert run_program(source, QUICK)[0] == outcome


@pytest.mark.parametrize("source", ["while True: pass", "import time; time.sleep(60)"])
def test_endless_programs_are_stopped(source):
    begun = time.monotonic()
    assert run_program(source, QUICK)[0] == "timeout"
    assert time.monotonic() - begun < 30


def test_children_do_not_outlive_a_program(tmp_path):
    mark = tmp_path / "mark"
    source = (
        "import subprocess, sys, time\n"
        "later = 'import time; time.sleep(3); open(%r, \"w\")'\n"
        f"subprocess.Popen([sys.executable, '-c', later % {str(mark)!r}])\n"
        "time.sleep(60)\n"
    )
    assert run_program(source, QUICK)[0] == "timeout"
    time.sleep(4)
    assert not mark.exists()


def test_a_program_is_prompt_answer_and_tests():
    source = program_of("def f(x):\n", "    return x + 1\n", "def check(g):\n    assert g(1) == 2\n", "f")
    assert run_program(source, QUICK)[0] == "passed"
    wrong = program_of("def f(x):\n", "    return x\n", "assert f(1) == 2", "f")
    assert run_program(wrong, QUICK)[0] == "failed"
