"""Zero-shot figures through kbit beside those of lm-evaluation-harness alone, at 16 and at k bits.

    python benchmarks/zero_shot.py MODEL ../shared/data/tasks OUT [--format nf4:b64] [--limit 100]

A 16-bit model is asked by the harness in a process that has never heard of kbit, by `kbit lm-eval` and by
`kbit task run`; a k-bit folder by the two commands, and its decoded dense twin by the harness alone. All
read the same local files, which `kbit task files` writes. Ends with code 1 where a figure differs.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES = {
    "lambada": "language_modelling/lambada_openai.jsonl",
    "hellaswag": "multiple_choice/hellaswag_val_full.txt.bz2",
    "piqa": "multiple_choice/piqa.jsonl",
    "winogrande": "multiple_choice/winogrande.jsonl",
    "arc-easy": "multiple_choice/arc_easy.jsonl",
    "arc-challenge": "multiple_choice/arc_challenge.jsonl",
    "boolq": "multiple_choice/boolq.jsonl",
}
FIGURES = {"accuracy": "acc", "accuracy_norm": "acc_norm", "perplexity": "perplexity"}
TOLERANCE = 1e-6  # relative: products of packed and of dense weights are summed in another order


def kbit(*arguments: object) -> dict[str, Any]:
    """A kbit command's JSON."""
    command = [sys.executable, "-m", "kbit", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def harness_arguments(model: Path, names: list[str], local: Path) -> list[str]:
    """What lm_eval is told."""
    return [
        "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--tasks", ",".join(names),
        "--include_path", str(local), "--device", "cpu", "--batch_size", "8",
    ]  # fmt: skip


def alone(model: Path, names: list[str], local: Path, out: Path) -> Mapping[str, Any]:
    """Results of the harness in a process of its own."""
    command = [sys.executable, "-m", "lm_eval", *harness_arguments(model, names, local)]
    environment = dict(os.environ) | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--output_path", str(out)], check=True, capture_output=True, env=environment)
    results: Mapping[str, Any] = json.loads(sorted(out.rglob("results_*.json"))[-1].read_text())["results"]
    return results


def write_twin(packed: Path, model: Path, out: Path) -> None:
    """The k-bit folder as a plain float32 model of Transformers, its weights decoded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from kbit.models import load, load_tokenizer
    from kbit.models.dense import make_dense

    decoded = make_dense(load(packed, dtype=torch.float32), dtype=torch.float32)
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model), dtype=torch.float32)
    plain.load_state_dict(decoded.state_dict())  # every weight, or it raises
    plain.save_pretrained(out)
    load_tokenizer(model).save_pretrained(out)


def main() -> int:
    """Print one row a task and a figure; 1 where any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--format", default="nf4:b64")
    parser.add_argument("--limit", type=int, default=100)
    given = parser.parse_args()
    out: Path = given.out
    local, packed, twin = out / "local", out / "packed", out / "twin"
    names = {}
    for task, file in FILES.items():
        written = kbit(
            "task", "files", task, "--data", given.tasks / file, "--limit", given.limit, "--out", local
        )
        names[task] = written["task"]
    if not packed.exists():
        kbit("quantize", given.model, packed, "--format", given.format, "--embeddings", "int8:b64")
        write_twin(packed, given.model, twin)
    subjects = {"16 bits": (given.model, given.model), given.format: (packed, twin)}
    wrong = 0
    for label, (model, dense) in subjects.items():
        theirs = alone(dense, list(names.values()), local, out / f"alone-{label.replace(' ', '')}")
        through = kbit("lm-eval", *harness_arguments(model, list(names.values()), local))["results"]
        for task, file in FILES.items():
            ours = kbit(
                "task", "run", task, model, "--data", given.tasks / file, "--limit", given.limit,
                "--predictions", out / f"{task}-{label.replace(' ', '').replace(':', '-')}.jsonl",
            )["metrics"]  # fmt: skip
            for figure, key in FIGURES.items():
                if figure not in ours:
                    continue
                # A tie between choices would be shared out by kbit and given to the first by the harness.
                value, (low, high) = ours[figure]["value"], ours[figure]["ci95"]
                wanted, also = (r[names[task]][f"{key},none"] for r in (theirs, through))
                same = all(abs(x - wanted) <= TOLERANCE * max(1.0, abs(wanted)) for x in (value, also))
                wrong += not same
                said = f"{wanted!r} | {also!r} | {value!r} ({low:.4g} to {high:.4g})"
                told = "same" if same else "DIFFERS"
                print(f"| {label} | {task} | {figure} | {said} | {told} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
