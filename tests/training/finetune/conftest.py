"""Small models with a tokeniser: the ladder's first rung, dense and packed; and examples."""

import os
from pathlib import Path

import pytest
import torch

from kbit import ladder
from kbit.corpus.example import Example, Message
from kbit.quantize import quantize_model


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Hashes are not kept in the user's own cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rung() -> Path:
    return ladder.rungs()[1]


@pytest.fixture(scope="session")
def packed(rung, tmp_path_factory) -> Path:
    """The same at four bits, its embedding at eight."""
    out = tmp_path_factory.mktemp("packed") / "nf4"
    quantize_model(rung, out, format="nf4:b64", embeddings="int8:b64")
    return out


COLOURS = ("red", "green", "blue", "white")


@pytest.fixture(scope="session")
def completions() -> list[Example]:
    """Sums whose answer follows from the question."""
    return [
        Example(
            source=f"sums.jsonl:{n}",
            prompt=f"{COLOURS[n % 4]} and {COLOURS[n // 4 % 4]}:",
            completions=(f" {COLOURS[n // 4 % 4]} {COLOURS[n % 4]}",),
        )
        for n in range(1, 49)
    ]


@pytest.fixture(scope="session")
def labelled() -> list[Example]:
    """Twelve of one class, four of the other."""
    return [
        Example(
            source=f"rooms.jsonl:{n}",
            prompt=f"the room was {'bad' if n % 4 == 0 else 'good'}, number {n}",
            label="no" if n % 4 == 0 else "yes",
        )
        for n in range(1, 17)
    ]


@pytest.fixture(scope="session")
def chat() -> Example:
    said = ("user", "hello"), ("assistant", "hi"), ("user", "how are you?"), ("assistant", "well")
    return Example(source="chat.jsonl:1", messages=tuple(Message(role=r, content=c) for r, c in said))
