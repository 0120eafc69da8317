"""Tiny models for these tests."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """The module `tiny.py` beside this file."""
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny", Path(__file__).parent / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
