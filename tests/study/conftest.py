"""Helpers beside this file and in other rooms' tests, and a small study of two random models."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

TESTS = Path(__file__).parent.parent


def module(path: Path) -> ModuleType:
    name = f"kbit_tests_study_{path.parent.name}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def driver() -> ModuleType:
    """The study that costs nothing, as a module; its `__file__` is the script."""
    return module(TESTS / "study" / "driver.py")


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """Tiny Llamas with a tokeniser that gives every text back."""
    return module(TESTS / "coders" / "tiny.py")


@pytest.fixture(scope="session")
def architectures() -> ModuleType:
    """Random models of several architectures, without tokeniser."""
    return module(TESTS / "models" / "tiny.py")


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory, tiny: ModuleType) -> Path:
    """A folder with models `rung-1` and `rung-2` (bfloat16), a text, a baseline text, and `s.toml`."""
    root = tmp_path_factory.mktemp("family")
    for i, layers in enumerate((1, 2), start=1):
        model = tiny.model(i, num_hidden_layers=layers, tie_word_embeddings=i == 1)
        model.to(torch.bfloat16).save_pretrained(root / f"rung-{i}")
        tiny.tokenizer().save_pretrained(root / f"rung-{i}")
    texts = ["the hen in the inner tent\n" * 4, "红楼梦 and the rest of it " * 5, "a", "", "herein " * 30]
    lines = [json.dumps({"name": f"d{i}", "text": t}) for i, t in enumerate(texts)]
    (root / "held-out.jsonl").write_text("\n".join(lines))
    (root / "train.txt").write_text("the inner rest of the tent and the hen herein " * 50)
    write_study(root)
    return root


def write_study(root: Path, name: str = "s.toml", **changes: object) -> Path:
    keys: dict[str, object] = {
        "name": "tiny",
        "models": ["rung-1", "rung-2"],
        "formats": ["nf4", "bf16", "int3:b32"],
        "texts": ["held-out.jsonl"],
        "baseline_texts": ["train.txt"],
    } | changes
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    (root / name).write_text(text + "[coder]\ncontext = 32\nstride = 16\n")
    return root / name


@pytest.fixture(scope="session")
def study_file(family: Path) -> Callable[..., Path]:
    """Writes another study beside the models: a file name, and keys that differ."""

    def write(name: str, **changes: object) -> Path:
        return write_study(family, name, **changes)

    return write
