"""The tiny models of the coders' tests."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """The module `tests/coders/tiny.py`."""
    path = Path(__file__).parent.parent / "coders" / "tiny.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder(tiny, tmp_path_factory):
    """A random Llama with room for 192 tokens."""
    return tiny.folder(tmp_path_factory.mktemp("models") / "tiny-1", max_position_embeddings=192)
