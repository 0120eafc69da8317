"""A tiny text and recipe that train in a second."""

import json
import random
from pathlib import Path

import pytest
import torch

from kbit.training.reading import read_recipe
from kbit.training.recipe import Recipe


def make_text(folder: Path) -> Path:
    """Forty documents of sentences from three hundred made-up words, some of them not ASCII."""
    chooser = random.Random(1)
    vocabulary = [
        "".join(chooser.choices("abcdefghijklmnoprstuvw", k=chooser.randint(2, 9))) for _ in range(300)
    ]
    vocabulary += ["naïve", "你好", "x_y", "12345", "🎉"]
    lines = []
    for i in range(40):
        sentences = [
            " ".join(chooser.choices(vocabulary, k=12)) + chooser.choice([".\n", ";\n    ", "\n\n"])
            for _ in range(20)
        ]
        lines.append(json.dumps({"name": f"doc-{i}", "text": "".join(sentences)}))
    file = folder / "text.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(name="make_text")
def make_text_fixture():
    """The function above, for tests that write recipes of their own."""
    return make_text


def make_recipe(folder: Path, *, steps: int = 24, extra: str = "") -> Path:
    """Two rungs of width 32 and 64; a step is 2 windows of 32 tokens."""
    text = make_text(folder)
    file = folder / "recipe.toml"
    file.write_text(
        f"""
name = "tiny"
seed = 3
[text]
paths = ["{text}"]
held_out_share = 0.3
[tokenizer]
vocabulary = 512
[model]
context = 32
head_width = 16
[training]
batch_windows = 2
learning_rate = 5e-3
checkpoint_steps = 7
compile = false
{extra}
[[rungs]]
name = "small"
hidden = 32
layers = 1
intermediate = 64
tokens = {steps * 64}
[[rungs]]
name = "large"
hidden = 64
layers = 2
intermediate = 96
tokens = {steps * 64}
"""
    )
    return file


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return read_recipe(make_recipe(tmp_path))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
