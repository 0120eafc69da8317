"""Training speed: kbit, the Transformers Trainer and a plain PyTorch loop, in turn in one process.

    python benchmarks/train.py --sizes 1M 5M 25M --threads 2

All train the same Llama-style model (context 256, vocabulary 4096, bfloat16 autocast, AdamW, compiled) on
the same random tokens. A round gives each of them the same number of steps; printed are medians over rounds
of tokens/s, the ratio of kbit to the best of the others round by round, and the share of the physical limit:
a large bfloat16 matrix product on the same threads.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from kbit.training.architecture import config_of, new_model, size_of
from kbit.training.objective import Objective
from kbit.training.peak import peak_flops_per_s
from kbit.training.recipe import ModelPart, Rung, TrainingPart
from kbit.training.run import new_optimizer, train_step

VOCABULARY, CONTEXT = 4096, 256
SIZES = {
    "1M": Rung(name="1M", hidden=160, layers=3, intermediate=448, tokens=1),
    "5M": Rung(name="5M", hidden=256, layers=6, intermediate=704, tokens=1),
    "25M": Rung(name="25M", hidden=512, layers=8, intermediate=1376, tokens=1),
}
MODEL = ModelPart(context=CONTEXT, head_width=32)
Contestant = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What each contestant trains: a fresh model and the windows of a round."""

    rung: Rung
    windows: int
    steps: int
    compiled: bool

    def model(self) -> PreTrainedModel:
        """A fresh model, the same for all."""
        config = config_of(self.rung, MODEL, vocabulary=VOCABULARY)
        return new_model(config, seed=1, residual_init="scaled").train()

    def batches(self) -> list[torch.Tensor]:
        """The windows of a round, [windows, context + 1] each, the same for all."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.windows, CONTEXT + 1)
        return [torch.randint(VOCABULARY, shape, generator=generator) for _ in range(self.steps)]

    @property
    def tokens(self) -> int:
        """Tokens of a round."""
        return self.windows * CONTEXT * self.steps


def kbit(job: Job) -> Contestant:
    """The loop of `kbit pretrain`."""
    part = TrainingPart(batch_windows=job.windows, learning_rate=1e-4, compile=job.compiled)
    model = job.model()
    objective, optimizer = Objective(model, compiled=job.compiled), new_optimizer(model, part)

    def turn() -> float:
        batches = job.batches()
        started = time.perf_counter()
        for batch in batches:
            train_step(objective, optimizer, batch, part)
        return job.tokens / (time.perf_counter() - started)

    return turn


def plain(job: Job) -> Contestant:
    """What one writes by hand: the model's own loss, fused AdamW, clipping."""
    model = job.model()
    forward = torch.compile(model) if job.compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)

    def turn() -> float:
        batches = job.batches()
        started = time.perf_counter()
        for batch in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = forward(input_ids=batch[:, :-1], use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            float(loss.detach())
        return job.tokens / (time.perf_counter() - started)

    return turn


class _Clock(TrainerCallback):
    """Seconds from the end of the first step (start-up) to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


class _Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        # The Trainer's model shifts by itself: a window of the same number of inputs.
        row = self.rows[place, :-1]
        return {"input_ids": row, "labels": row}


def trainer(job: Job) -> Contestant:
    """The Transformers Trainer with the same batch, type, clipping and compilation."""
    model = job.model()
    folder = tempfile.mkdtemp(prefix="kbit-train-")
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=job.windows,
        max_steps=job.steps + 1,
        learning_rate=1e-4,
        weight_decay=0.1,
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=True,
        torch_compile=job.compiled,
        optim="adamw_torch_fused",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    rows = torch.cat([*job.batches(), job.batches()[0]])
    clock = _Clock()
    running = Trainer(model=model, args=arguments, train_dataset=_Windows(rows), callbacks=[clock])

    def turn() -> float:
        clock.ends.clear()
        with contextlib.redirect_stdout(sys.stderr):  # it prints its summary
            running.train()
        return job.tokens / (clock.ends[-1] - clock.ends[0])

    return turn


CONTESTANTS: dict[str, Callable[[Job], Contestant]] = {
    "kbit": kbit,
    "trainer": trainer,
    "plain loop": plain,
}


def compare(rung: Rung, *, windows: int, steps: int, rounds: int, compiled: bool) -> dict[str, object]:
    """Medians and ratios of one size."""
    job = Job(rung=rung, windows=windows, steps=steps, compiled=compiled)
    turns = {name: make(job) for name, make in CONTESTANTS.items()}
    for turn in turns.values():  # compilation, caches
        turn()
    speeds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            speeds[name].append(turn())
    best = max((name for name in turns if name != "kbit"), key=lambda n: statistics.median(speeds[n]))
    ratios = sorted(a / b for a, b in zip(speeds["kbit"], speeds[best], strict=True))
    size = size_of(rung, MODEL, VOCABULARY)
    roof = peak_flops_per_s("cpu", torch.get_num_threads())
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "size": rung.name,
        "body_parameters": size.body_parameters,
        "windows": windows,
        "tokens_per_s": {name: round(value) for name, value in medians.items()},
        "share_of_peak": {name: round(v * size.flops_per_token / roof, 3) for name, v in medians.items()},
        "peak_gflops_per_s": round(roof / 1e9),
        "best_peer": best,
        "ratio_to_best_peer": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    for name in arguments.sizes:
        found = compare(
            SIZES[name],
            windows=arguments.windows,
            steps=arguments.steps,
            rounds=arguments.rounds,
            compiled=not arguments.no_compile,
        )
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
