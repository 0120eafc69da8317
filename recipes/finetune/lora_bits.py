"""Is LoRA beside packed layers worse than beside 16-bit ones? The share of its gain that is lost.

    python recipes/finetune/lora_bits.py ladder:rung-4 runs/finetune/data/en-de/valid.jsonl \
        runs/finetune/lora-16-{1,2,3} -- runs/finetune/lora-nf4-{1,2,3}

Runs of both kinds stand in the order of their seeds and share the held-out examples. The gain is that of the
16-bit runs over the model as it came, in bits; examples and seeds are drawn anew for the interval.
"""

import json
import sys
from pathlib import Path

import numpy as np

from kbit.corpus import read_examples
from kbit.models import load, load_tokenizer
from kbit.training.finetune import Tuning
from kbit.training.finetune.encode import encode_examples
from kbit.training.finetune.objective import AnswerLoss
from kbit.training.finetune.run import evaluate

RESAMPLES = 10_000


def bits_of(run: str) -> np.ndarray:
    """Bits of each held-out answer after a run."""
    lines = (Path(run) / "held-out-bits.jsonl").read_text().splitlines()
    return np.array([json.loads(line)["bits"] for line in lines])


def bits_before(model: str, data: str) -> np.ndarray:
    """Bits of each answer under the model as it came."""
    tuning = Tuning()
    encoded = encode_examples(read_examples([data]), load_tokenizer(model), tuning, longest=512)
    loaded = load(model)
    found = evaluate(loaded, AnswerLoss(loaded, by_label=False), encoded, None, tuning)
    return np.array([length.bits for length in found.lengths])


def main(model: str, data: str, dense: list[str], packed: list[str]) -> None:
    """Print the gain and the share of it that is lost."""
    before = bits_before(model, data)
    ours, theirs = np.array([bits_of(r) for r in packed]), np.array([bits_of(r) for r in dense])
    gained, lost = before - theirs, ours - theirs  # [seeds, examples]
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(RESAMPLES):
        seeds = draw.integers(0, len(ours), len(ours))
        examples = draw.integers(0, len(before), len(before))
        of = np.ix_(seeds, examples)
        shares.append(lost[of].sum() / gained[of].sum())
    low, high = np.percentile(shares, [2.5, 97.5])
    told = {
        "examples": len(before),
        "seeds": len(ours),
        "bits_before": before.sum(),
        "bits_dense": theirs.sum(axis=1).tolist(),
        "bits_packed": ours.sum(axis=1).tolist(),
        "lost_share_of_gain": lost.sum() / gained.sum(),
        "ci95": [low, high],
        "not_inferior_by_5_percent": bool(high < 0.05),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    at = sys.argv.index("--")
    main(sys.argv[1], sys.argv[2], sys.argv[3:at], sys.argv[at + 1 :])
