"""A writer of GGUF files, where the gguf package is there."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ggufs():
    """The helper beside this file; skips where llama.cpp's gguf package is not installed."""
    pytest.importorskip("gguf")
    path = Path(__file__).parent / "gguf_writer.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_gguf_writer", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
