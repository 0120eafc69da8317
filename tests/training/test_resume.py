"""A run that dies, whenever and however, ends with the losses and weights of one left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kbit.errors import TrainingError
from kbit.training import run as run_module
from kbit.training.architecture import config_of, new_model
from kbit.training.branches import runs_of
from kbit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from kbit.training.log import StepLog, read_log
from kbit.training.objective import Objective
from kbit.training.prepare import Prepared, prepare
from kbit.training.reading import read_recipe
from kbit.training.run import CHECKPOINT, LOG, new_optimizer, train_run, train_step

from .conftest import make_recipe

STEPS = 60
DRIVER = """
import sys, time, torch
from dataclasses import replace
from pathlib import Path
from kbit.training.objective import Objective
from kbit.training.prepare import prepare
from kbit.training.reading import read_recipe
from kbit.training.branches import runs_of
from kbit.training.run import train_run
torch.set_num_threads(1)
recipe, out = read_recipe(sys.argv[1]), Path(sys.argv[2])
prepared = prepare(recipe, out)
train_run(runs_of(recipe.rungs[1], recipe)[0], recipe, prepared.stream(), work=out / "runs",
           text_hash=prepared.training_hash, report=lambda step: time.sleep(0.01))
"""


def train(recipe, prepared: Prepared, folder: Path):
    """Train the larger rung; checkpoint and log end up in `folder`."""
    run = replace(runs_of(recipe.rungs[1], recipe)[0], name=folder.name)
    return train_run(run, recipe, prepared.stream(), work=folder.parent, text_hash=prepared.training_hash)


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(r["step"], r["loss_nats"], r["gradient_norm"]) for r in read_log(folder / LOG)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A whole run: recipe file, its folder, its model."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    file = make_recipe(folder, steps=STEPS)
    recipe = read_recipe(file)
    trained = train(recipe, prepare(recipe, folder / "out"), folder / "work")
    return file, folder / "work", trained


def test_killed_runs_continue_exactly(alone, tmp_path):
    file, work, _ = alone
    out = tmp_path / "out"
    folder = out / "runs" / "large"
    kills = 0
    for until in (3, 20, 40):
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(file), str(out)], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:
            if (folder / LOG).exists() and (folder / LOG).read_bytes().count(b"\n") > until:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    subprocess.run([sys.executable, "-c", DRIVER, str(file), str(out)], check=True, timeout=600)
    assert losses(folder) == losses(work)
    assert len(losses(folder)) == STEPS
    ours, theirs = load_file(folder / CHECKPOINT), load_file(work / CHECKPOINT)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_it_learns(alone):
    _, work, trained = alone
    values = [loss for _, loss, _ in losses(work)]
    assert np.mean(values[-10:]) < np.mean(values[:5]) - 1.0
    assert trained.steps == STEPS
    assert trained.tokens == STEPS * 64
    record = read_log(work / LOG)[-1]
    assert record["tokens"] == STEPS * 64
    assert record["loss_bits"] == pytest.approx(record["loss_nats"] / np.log(2))
    assert record["learning_rate"] > 0
    assert record["tokens_per_s"] > 0


def test_a_finished_run_trains_no_more(alone):
    file, work, trained = alone
    before = (work / LOG).read_bytes()
    recipe = read_recipe(file)
    again = train(recipe, prepare(recipe, work.parent / "out"), work)
    assert (work / LOG).read_bytes() == before
    for a, b in zip(again.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint(recipe, tmp_path, monkeypatch):
    prepared = prepare(recipe, tmp_path / "out")
    calls = 0

    def fails(*arguments):
        nonlocal calls
        calls += 1
        return (float("nan"), 1.0) if calls == 10 else train_step(*arguments)

    monkeypatch.setattr(run_module, "train_step", fails)
    with pytest.raises(TrainingError) as error:
        train(recipe, prepared, tmp_path / "work")
    for said in ("work: ", "step 9 of 24", "nan", str(tmp_path / "work" / CHECKPOINT), "learning_rate"):
        assert said in str(error.value)
    with safe_open(tmp_path / "work" / CHECKPOINT, framework="pt") as file:
        assert json.loads(file.metadata()["kbit"])["step"] == 7
    monkeypatch.undo()
    train(recipe, prepared, tmp_path / "work")
    assert [step for step, _, _ in losses(tmp_path / "work")] == list(range(24))


def test_a_step_without_numbers_moves_no_weight(recipe):
    model = new_model(config_of(recipe.rungs[0], recipe.model, vocabulary=512), seed=0)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    before = [p.clone() for p in model.parameters()]
    optimizer = new_optimizer(model, recipe.training)
    loss, _ = train_step(Objective(model), optimizer, torch.zeros((2, 33), dtype=torch.long), recipe.training)
    assert np.isnan(loss)
    for a, b in zip(before, model.parameters(), strict=True):
        assert torch.equal(a, b) or torch.equal(a.isnan(), b.isnan())


def test_accumulation_is_the_same_batch_in_parts(recipe):
    from dataclasses import replace

    batch = torch.randint(512, (4, 33), generator=torch.Generator().manual_seed(1))
    results = []
    for accumulation in (1, 4):
        model = new_model(config_of(recipe.rungs[0], recipe.model, vocabulary=512), seed=0)
        part = replace(recipe.training, batch_windows=4 // accumulation, accumulation=accumulation)
        results.append(train_step(Objective(model), new_optimizer(model, part), batch, part))
    assert results[0] == pytest.approx(results[1], rel=2e-3)


@pytest.fixture
def saved(recipe, tmp_path):
    model = new_model(config_of(recipe.rungs[0], recipe.model, vocabulary=512), seed=0)
    optimizer = new_optimizer(model, recipe.training)
    train_step(Objective(model), optimizer, torch.zeros((2, 33), dtype=torch.long), recipe.training)
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, model=model, optimizer=optimizer, progress=Progress(run="r", step=1, wall_s=2.5))
    return path, model, optimizer, recipe


def test_a_checkpoint_holds_all_of_a_run(saved):
    path, model, optimizer, recipe = saved
    state = torch.get_rng_state()
    torch.rand(3)
    fresh = new_model(model.config, seed=9)
    other = new_optimizer(fresh, recipe.training)
    progress = load_checkpoint(path, model=fresh, optimizer=other, run="r")
    assert progress == Progress(run="r", step=1, wall_s=2.5)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, a), b in zip(model.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert optimizer.state[a].keys() == other.state[b].keys() == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in optimizer.state[a].items():
            assert torch.equal(value, other.state[b][key])


def test_a_checkpoint_of_another_run_or_a_broken_one_is_refused(saved):
    path, model, optimizer, _ = saved
    with pytest.raises(TrainingError, match="another recipe, text or version"):
        load_checkpoint(path, model=model, optimizer=optimizer, run="s")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="another recipe, text or version"):
        load_checkpoint(path, model=model, optimizer=optimizer, run="r")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(path, model=model, optimizer=optimizer, run="r")
    assert load_checkpoint(path.with_name("none"), model=model, optimizer=optimizer, run="r") is None


def test_a_failed_write_leaves_the_old_checkpoint(saved, monkeypatch):
    path, model, optimizer, _ = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kbit.training.checkpoint.sync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(
            path, model=model, optimizer=optimizer, progress=Progress(run="r", step=2, wall_s=0.0)
        )
    assert path.read_bytes() == before


def test_the_log_drops_what_lies_beyond_the_checkpoint(tmp_path):
    file = tmp_path / "log.jsonl"
    with StepLog(file, step=0) as log:
        for step in range(5):
            log.write(step=step, loss_nats=1.0)
    with file.open("a") as cut:
        cut.write('{"step": 5, "lo')
    assert len(read_log(file)) == 5
    with StepLog(file, step=3) as log:
        log.write(step=3, loss_nats=2.0)
    assert [(r["step"], r["loss_nats"]) for r in read_log(file)] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0)]


def test_two_processes_cannot_train_one_rung(recipe, tmp_path):
    prepared = prepare(recipe, tmp_path / "out")
    with (
        run_module.alone_in(tmp_path, run_module.ALONE),
        pytest.raises(TrainingError, match="another process is training"),
    ):
        train(recipe, prepared, tmp_path)
