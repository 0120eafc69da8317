"""Two processes that share every step's windows have the losses of one, to rounding."""

import json
import os
import subprocess
import sys

import pytest
import torch

from kbit.errors import TrainingError
from kbit.training.log import read_log
from kbit.training.pretrain import pretrain
from kbit.training.processes import Processes
from kbit.training.reading import read_recipe
from kbit.training.run import LOG

from .conftest import make_recipe

pytest.importorskip("accelerate", reason="accelerate is not installed")


def launch(processes: int, recipe, out) -> subprocess.CompletedProcess[str]:
    # What `accelerate launch` starts on GPUs; on CPUs it wants MPI, and this does not.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "-m", "kbit"]
    command += ["pretrain", str(recipe), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, "--only", "large", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_gloo_processes_are_one_to_rounding(tmp_path):
    file = make_recipe(tmp_path, steps=12, extra="accumulation = 2")
    two = launch(2, file, tmp_path / "two")
    assert two.returncode == 0, two.stderr[-2000:]
    pretrain(read_recipe(file), tmp_path / "one", only=["large"], jobs=1, threads=1)
    logs = [read_log(tmp_path / which / "runs" / "large" / LOG) for which in ("one", "two")]
    assert [record["step"] for record in logs[1]] == list(range(6))
    for one, both in zip(*logs, strict=True):
        assert both["loss_nats"] == pytest.approx(one["loss_nats"], rel=2e-3)
        assert both["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=2e-2)
        assert both["learning_rate"] == one["learning_rate"]
    record = json.loads((tmp_path / "two" / "large" / "training.json").read_text())
    assert record["processes"] == 2
    assert record["held_out_bits_per_byte"] > 0
    printed = [line for line in two.stdout.splitlines() if line.startswith("{")]
    assert len(printed) == 1  # one process speaks
    assert json.loads(two.stdout)["rungs"][0]["rung"] == "large"


def test_windows_that_do_not_share_out_are_refused(recipe, tmp_path, monkeypatch):
    module = sys.modules["kbit.training.pretrain"]  # the package's attribute of this name is the function
    monkeypatch.setattr(module, "processes", lambda: Processes(count=3, rank=0))
    with pytest.raises(TrainingError, match=r"batch_windows is 2; it must be a multiple of the 3 processes"):
        pretrain(recipe, tmp_path / "out", jobs=1)


def test_shares_are_disjoint_and_whole():
    windows = torch.arange(6)
    parts = [Processes(count=3, rank=rank).share(windows).tolist() for rank in range(3)]
    assert parts == [[0, 3], [1, 4], [2, 5]]
