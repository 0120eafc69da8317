"""Training learns, stops when it should, and a run that dies ends as one left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kbit.errors import TrainingError
from kbit.models import load
from kbit.training.finetune.encode import encode_examples
from kbit.training.finetune.lora import make_trainable
from kbit.training.finetune.run import CHECKPOINT, LOG, tune
from kbit.training.finetune.settings import Tuning
from kbit.training.log import read_log

TUNING = Tuning(
    rank=4, dropout=0.1, epochs=4, batch_examples=8, evaluate_steps=6, checkpoint_steps=5, learning_rate=5e-3
)
DRIVER = """
import json, sys, time, torch
from pathlib import Path
from kbit.corpus.example import Example
from kbit.models import load, load_tokenizer
from kbit.training.finetune.encode import encode_examples
from kbit.training.finetune.lora import make_trainable
from kbit.training.finetune.run import tune
from kbit.training.finetune.settings import Tuning
torch.set_num_threads(1)
model, examples, settings, folder = sys.argv[1:]
made = json.loads(Path(examples).read_text())
made = [Example(**{**e, "completions": tuple(e["completions"])}) for e in made]
tuning = Tuning(**json.loads(settings))
loaded = load(model)
make_trainable(loaded, tuning)
sets = [encode_examples(part, load_tokenizer(model), tuning, longest=64) for part in (made[:36], made[36:])]
tune(loaded, *sets, tuning, folder=Path(folder), identity="it", report=lambda step: time.sleep(0.05))
"""


def parts(examples, model, tuning):
    from kbit.models import load_tokenizer

    tokenizer = load_tokenizer(model)
    return [encode_examples(part, tokenizer, tuning, longest=64) for part in (examples[:36], examples[36:])]


def run(model: Path, examples, tuning: Tuning, folder: Path, **more):
    loaded = load(model, dtype=torch.float32 if tuning.method == "full" else None)
    make_trainable(loaded, tuning)
    return loaded, tune(loaded, *parts(examples, model, tuning), tuning, folder=folder, identity="it", **more)


def losses(folder: Path):
    return [
        (r["step"], r["loss_nats"], r["gradient_norm"], r.get("held_out_loss"))
        for r in read_log(folder / LOG)
    ]


@pytest.fixture(scope="module")
def alone(packed, completions, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    return folder, *run(packed, completions, TUNING, folder)


def test_killed_runs_continue_exactly(alone, packed, completions, tmp_path):
    whole, model, tuned = alone
    folder, examples = tmp_path / "work", tmp_path / "examples.json"
    examples.write_text(
        json.dumps(
            [{"source": e.source, "prompt": e.prompt, "completions": e.completions} for e in completions]
        )
    )
    settings = json.dumps({f: getattr(TUNING, f) for f in TUNING.__slots__})
    command = [sys.executable, "-c", DRIVER, str(packed), str(examples), settings, str(folder)]
    kills = 0
    for until in (3, 14):
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if (folder / LOG).exists() and (folder / LOG).read_bytes().count(b"\n") > until:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    again, resumed = run(packed, completions, TUNING, folder)
    assert losses(folder) == losses(whole)
    assert len(losses(folder)) == 20
    assert (resumed.best_step, resumed.after) == (tuned.best_step, tuned.after)
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_it_learns_and_says_what_it_took(alone):
    folder, _, tuned = alone
    assert tuned.after.loss < 0.5 * tuned.before.loss
    looks = [r for r in read_log(folder / LOG) if "held_out_loss" in r]
    assert tuned.best_step == min(looks, key=lambda r: r["held_out_loss"])["step"] + 1
    assert tuned.memory.total_bytes > tuned.memory.model_bytes > 0
    assert tuned.peak_bytes >= 0
    assert [len(tuned.before.lengths), len(tuned.after.lengths)] == [12, 12]


def test_a_finished_run_trains_no_more(alone, packed, completions):
    folder, model, _ = alone
    before = (folder / LOG).read_bytes()
    again, _ = run(packed, completions, TUNING, folder)
    assert (folder / LOG).read_bytes() == before
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(alone):
    from safetensors import safe_open

    with safe_open(alone[0] / CHECKPOINT, framework="pt") as file:
        weights = [key for key in file.keys() if key.startswith("model.")]  # noqa: SIM118
    assert len(weights) == 28
    assert all("lora_" in name for name in weights)


def test_it_stops_when_held_out_answers_get_no_better_and_keeps_the_best(rung, completions, tmp_path):
    wild = replace(
        TUNING, learning_rate=0.5, epochs=20, evaluate_steps=2, patience=2, method="full", dropout=0.0
    )
    model, tuned = run(rung, completions, wild, tmp_path)
    assert tuned.steps < tuned.planned_steps
    looks = [(0, tuned.before.loss)]
    looks += [(r["step"] + 1, r["held_out_loss"]) for r in read_log(tmp_path / LOG) if "held_out_loss" in r]
    best = min(looks, key=lambda look: look[1])
    assert tuned.best_step == best[0]
    assert tuned.after.loss == pytest.approx(best[1])
    assert all(value >= best[1] for _, value in looks[-2:])
    if tuned.best_step == 0:  # nothing was better than the start: the weights are those it came with
        for ours, theirs in zip(
            model.parameters(), load(rung, dtype=torch.float32).parameters(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_parts_of_a_step_add_up(rung, labelled, tmp_path):
    """Four parts of a step give the gradient of the whole."""
    found = []
    for accumulation in (1, 4):
        tuning = Tuning(
            method="full", precision="fp32", epochs=0.5, batch_examples=8, accumulation=accumulation,
            imbalance="weights",
        )  # fmt: skip
        model = load(rung, dtype=torch.float32)
        make_trainable(model, tuning)
        sets = parts(labelled * 3, rung, tuning)
        tune(model, *sets, tuning, folder=tmp_path / str(accumulation), identity="it")
        found.append(read_log(tmp_path / str(accumulation) / LOG)[0])
    assert found[0]["loss_nats"] == pytest.approx(found[1]["loss_nats"], rel=1e-5)
    assert found[0]["gradient_norm"] == pytest.approx(found[1]["gradient_norm"], rel=1e-4)


@pytest.mark.parametrize("imbalance", ["none", "weights", "sampling", "focal"])
def test_remedies_are_seen_by_the_rare_class(rung, labelled, tmp_path, imbalance):
    """With weights or sampling, the held-out loss is that of classes that count alike."""
    tuning = Tuning(
        epochs=1, batch_examples=8, evaluate_steps=1, imbalance=imbalance, rank=2, precision="fp32"
    )
    _, tuned = run(rung, [*labelled] * 3, tuning, tmp_path)
    nats = [length.bits * 0.6931471805599453 for length in tuned.before.lengths]
    held = ([*labelled] * 3)[36:]
    rare = [n for n, e in zip(nats, held, strict=True) if e.label == "no"]
    common = [n for n, e in zip(nats, held, strict=True) if e.label == "yes"]
    if imbalance == "none":
        wanted = (sum(rare) + sum(common)) / len(nats)
    elif imbalance == "focal":
        p = [torch.tensor(-n).exp().item() for n in nats]
        wanted = sum((1 - q) ** 2 * n for q, n in zip(p, nats, strict=True)) / len(nats)
    else:
        training = [e.label for e in ([*labelled] * 3)[:36]]
        weight = {c: 36 / (2 * training.count(c)) for c in ("no", "yes")}
        total = weight["no"] * sum(rare) + weight["yes"] * sum(common)
        wanted = total / (weight["no"] * len(rare) + weight["yes"] * len(common))
    assert tuned.before.loss == pytest.approx(wanted, rel=1e-4)


def test_packed_weights_cannot_be_trained_whole(packed):
    with pytest.raises(TrainingError, match="codes cannot be trained: use method lora"):
        make_trainable(load(packed), Tuning(method="full"))
